// Shows an answer. Names come from files: they are set as text, never as HTML.

import { decision, guarantee, objections, percent, reason } from './words.js'

const $ = id => document.getElementById(id)
// Up to this many classes keep their places while one draws; of more, the most probable come first.
const IN_ORDER = 12
const SHOWN = 10
// Longer names of classes are written smaller.
const SHORT = 12
// The quantiles at 1 % and 99 % lie at these shares of a track.
const FIRST = 0.08
const LAST = 0.7
const PROBABILITIES = [
  ['P(correct)', 'p_correct'],
  ['P(known)', 'p_known'],
  ['P(correct | known)', 'p_correct_if_known']
]
const CAPTIONS = {
  gradient: 'Re-learning stress: log₁₀ of the norm of the gradient',
  distance: 'Output: log₁₀ of the distance from known inputs'
}

export function element(tag, classes = '', text = '') {
  const made = document.createElement(tag)
  if (classes) made.className = classes
  if (text) made.textContent = text
  return made
}

function row(name, share, threshold = null) {
  const line = element('div', 'row')
  const label = element('span', 'name', name)
  label.title = name
  const gauge = element('span', 'gauge')
  gauge.setAttribute('aria-hidden', 'true')
  const fill = element('span', 'fill')
  fill.style.width = `${100 * share}%`
  gauge.append(fill)
  if (threshold !== null) {
    const mark = element('span', 'threshold')
    mark.style.left = `${100 * threshold}%`
    gauge.append(mark)
  }
  line.append(label, gauge, element('span', 'number', percent(share)))
  return line
}

export function show(answer, model) {
  showVerdict(answer, model)
  showLayers(answer.layers, model)
}

export function showVerdict(answer, model) {
  $('empty').hidden = true
  $('answer').hidden = false
  $('prediction').textContent = answer.prediction
  $('prediction').className = answer.prediction.length > SHORT ? 'long' : ''
  const verdict = $('decision')
  verdict.textContent = { true: '✓ ', false: '✕ ', null: '' }[answer.accepted] + decision(answer)
  verdict.className = `decision ${{ true: 'accepted', false: 'rejected', null: '' }[answer.accepted]}`
  $('reason').textContent = reason(answer)
  const threshold = field => (model.guarantee?.score === field ? model.guarantee.threshold : null)
  const known = PROBABILITIES.filter(([, field]) => answer[field] !== null)
  $('sure').replaceChildren(...known.map(([name, field]) => row(name, answer[field], threshold(field))))
  $('guarantee').textContent = `${guarantee(model.guarantee)} ${model.meaning}`
  showClasses(answer, model)
}

function showLayers(layers, model) {
  $('objections').textContent = objections(layers)
  $('objections').className = layers.some(layer => layer.objects) ? 'objects' : ''
  $('legend').hidden = !layers.some(layer => layer.quantiles)
  $('layers').hidden = false
  const measures = [...new Set(layers.map(layer => layer.measure))]
  const tables = measures.map(measure => table(layers.filter(layer => layer.measure === measure), model))
  $('measures').replaceChildren(...tables)
}

function showClasses(answer, model) {
  const classes = [...answer.probabilities]
  if (model.classes <= IN_ORDER) classes.sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }))
  const shown = model.classes <= IN_ORDER ? classes : classes.slice(0, SHOWN)
  $('classes').replaceChildren(...shown.map(entry => row(entry.name, entry.probability)))
}

export function clear() {
  $('empty').hidden = false
  $('answer').hidden = true
  // The page without a server shows no layers.
  if ($('layers')) $('layers').hidden = true
}

function table(layers, model) {
  const made = element('table')
  const head = element('tr')
  const ranged = layers.some(layer => layer.quantiles)
  for (const name of ranged ? ['Layer', 'Right predictions', 'Value', 'Says'] : ['Layer', 'Value']) {
    const cell = element('th', name === 'Value' ? 'number' : '', name)
    cell.scope = 'col'
    head.append(cell)
  }
  const body = element('tbody')
  body.append(...layers.map(layer => layerRow(layer, model.levels)))
  const top = element('thead')
  top.append(head)
  made.append(element('caption', '', CAPTIONS[layers[0].measure]), top, body)
  return made
}

function layerRow(layer, levels) {
  const made = element('tr')
  const name = element('th', '', layer.layer)
  name.scope = 'row'
  name.title = layer.layer
  const value = element('td', 'number', layer.value.toFixed(2))
  if (!layer.quantiles) {
    made.append(name, value)
    return made
  }
  const graph = element('td', 'graph')
  graph.append(track(layer, levels))
  made.append(name, graph, value, says(layer, levels))
  return made
}

function says(layer, levels) {
  if (layer.objects) return element('td', 'says objects', 'objects')
  return element('td', 'says', layer.value < layer.quantiles[levels.indexOf(0.05)] ? 'low' : 'typical')
}

function track(layer, levels) {
  const [lowest, highest] = [layer.quantiles[0], layer.quantiles[layer.quantiles.length - 1]]
  const spread = highest - lowest || 1
  const place = value => Math.min(Math.max(FIRST + (LAST - FIRST) * (value - lowest) / spread, 0.01), 0.98)
  const at = level => place(layer.quantiles[levels.indexOf(level)])
  const made = element('div', 'track')
  made.setAttribute('aria-hidden', 'true')
  for (const [kind, from, to] of [['band', 0.05, 0.95], ['box', 0.25, 0.75]]) {
    const bar = element('span', kind)
    bar.style.left = `${100 * at(from)}%`
    bar.style.width = `${100 * (at(to) - at(from))}%`
    made.append(bar)
  }
  const middle = element('span', 'middle')
  middle.style.left = `${100 * at(0.5)}%`
  const marker = element('span', layer.objects ? 'marker objecting' : 'marker')
  marker.style.left = `${100 * place(layer.value)}%`
  made.append(middle, marker)
  return made
}
