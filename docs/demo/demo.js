// Judges drawings in the browser: judged.onnx holds the network and its judge, judged.json what the file says of them.

import * as ort from './ort.wasm.min.mjs'
import { levelsOf, paint } from './digit.js'
import { Pad } from './pad.js'
import { clear, showVerdict } from './view.js'
import { decision, percent, reason } from './words.js'

// Milliseconds until a drawing counts as finished and is read to those who do not see it.
const SETTLED = 900

const $ = id => document.getElementById(id)

async function load() {
  // Several threads would need headers that a static host does not send.
  ort.env.wasm.numThreads = 1
  const [session, properties] = await Promise.all([
    ort.InferenceSession.create('judged.onnx'),
    fetch('judged.json').then(response => response.json())
  ])
  const metadata = {}
  for (const [name, value] of Object.entries(properties)) metadata[name.replace('gradmeter.', '')] = JSON.parse(value)
  return { session, metadata }
}

// Returns the verdict on levels [side * side] from 0 to 255, in the words that the server of gradmeter uses.
async function judge({ session, metadata }, levels, side) {
  const [mean] = metadata.preprocessing.mean
  const [std] = metadata.preprocessing.std
  const pixels = Float32Array.from(levels, level => (level / 255 - mean) / std)
  const given = await session.run({ inputs: new ort.Tensor('float32', pixels, [1, 1, side, side]) })
  const first = name => given[name].data[0]
  const accepted = metadata.guarantee ? Boolean(first('accepted')) : null
  return {
    prediction: metadata.classes[Number(first('prediction'))],
    probabilities: metadata.classes.map((name, index) => ({ name, probability: given.probabilities.data[index] })),
    p_known: first('p_known'),
    p_correct_if_known: first('p_correct_if_known'),
    p_correct: first('p_correct'),
    accepted,
    reason: accepted === false ? reasonOf(first('unfamiliar'), given.unfamiliar_layers.data, metadata.layers) : null
  }
}

// Returns the reason as `gradmeter judge` words it; numbers below 0 stand for no layer.
function reasonOf(unfamiliar, numbers, layers) {
  if (!unfamiliar) return 'doubtful'
  const named = Array.from(numbers, Number).filter(number => number >= 0).map(number => layers[number])
  return named.length ? `unfamiliar: ${named.join(', ')}` : 'unfamiliar'
}

function start(judged) {
  const { metadata } = judged
  const side = metadata.preprocessing.side
  const model = { classes: metadata.classes.length, guarantee: metadata.guarantee, meaning: metadata.meaning }
  let [busy, version, settling] = [false, 0, 0]
  const pad = new Pad($('pad'), changed, () => {})

  async function changed() {
    version += 1
    $('pad-hint').hidden = pad.strokes.length > 0
    if (busy) return
    busy = true
    try {
      for (let seen = -1; seen !== version;) {
        seen = version
        await look()
      }
    } catch (error) {
      complain(error)
    }
    busy = false
  }

  async function look() {
    clearTimeout(settling)
    if (!pad.strokes.length) {
      $('seen').getContext('2d').clearRect(0, 0, side, side)
      clear()
      return
    }
    const levels = levelsOf(pad.strokes, side)
    const answer = await judge(judged, levels, side)
    paint($('seen'), levels, side, false)
    showVerdict(answer, model)
    settling = setTimeout(() => {
      const words = [`Prediction ${answer.prediction}.`, `${decision(answer)}.`, `P(correct) ${percent(answer.p_correct)}.`]
      $('live').textContent = [...words, reason(answer)].join(' ')
    }, SETTLED)
  }

  $('clear').addEventListener('click', () => pad.clear())
  $('undo').addEventListener('click', () => pad.undo())
  $('input').hidden = $('verdict').hidden = false
  $('about').textContent =
    'A network that learned 3,000 digits, with its judge, in one ONNX file. It runs in this browser: what you draw ' +
    'stays here.'
}

function complain(error) {
  $('problem').textContent = `The network cannot be run in this browser (${error.message ?? error}).`
  $('problem').hidden = false
}

load().then(start).catch(complain)
