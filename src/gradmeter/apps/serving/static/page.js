// Connects the inputs with the server and the view.

import { Queue, Refusal, Unreachable, describe, fetchExample, judge } from './api.js'
import { levelsOf, paint, pngOf } from './digit.js'
import { Pad } from './pad.js'
import { Strip, fill } from './strip.js'
import { clear, element, show } from './view.js'
import { spoken } from './words.js'

// Milliseconds from a change of the drawing to the request, which then takes all changes, and from the last answer until
// the drawing is finished: it goes to the strip and to screen readers.
const COLLECTED = 40
const SETTLED = 900
const MOST_FILES = 100
const MOST_PROBLEMS = 10
// A picture that the browser cannot decode, such as a TIFF.
const UNKNOWN = 56

const $ = id => document.getElementById(id)
const queue = new Queue()
const strip = new Strip($('recent'), $('strip'), entry => present(entry.answer, entry.picture))
let model
let announcement

function complain(text) {
  complainAbout(text ? [{ text }] : [])
}

// Shows problems, each in its own line; a name may hold characters that reverse the text after it.
function complainAbout(problems) {
  const lines = problems.slice(0, MOST_PROBLEMS).map(({ name, text }) => {
    const line = element('p')
    if (name !== undefined) line.append(element('bdi', '', name), ': ')
    line.append(text)
    return line
  })
  const more = problems.length - lines.length
  if (more > 0) lines.push(element('p', '', `${more} more files were not judged.`))
  $('problem').replaceChildren(...lines)
  $('problem').hidden = !lines.length
}

function present(answer, picture) {
  show(answer, model)
  fill($('shown'), picture)
  announce(answer)
}

function announce(answer) {
  clearTimeout(announcement)
  announcement = setTimeout(() => { $('live').textContent = spoken(answer) }, SETTLED)
}

// The drawing: at most one request is under way, and the next one takes the drawing as it then is.
function startPad() {
  const seen = $('seen')
  let [version, judged, busy, settling, entry] = [0, 0, false, 0, null]
  let latest = null
  const pad = new Pad($('pad'), changed, settle)
  pad.light = $('light').checked = model.examples.filter(example => example.light).length > model.examples.length / 2
  pad.redraw()

  function changed() {
    version += 1
    $('pad-hint').hidden = pad.strokes.length > 0
    clearTimeout(settling)
    if (pad.strokes.length) {
      send()
    } else {
      latest = entry = null
      seen.getContext('2d').clearRect(0, 0, seen.width, seen.height)
      clear()
      complain('')
      clearTimeout(announcement)
    }
  }

  async function send() {
    if (busy) return
    busy = true
    while (judged !== version && pad.strokes.length) {
      await new Promise(resolve => setTimeout(resolve, COLLECTED))
      if (!pad.strokes.length) break
      const now = judged = version
      const strokes = pad.strokes
      paint(seen, levelsOf(pad.strokes, model.side), model.side, pad.light)
      try {
        const answer = await queue.run(async () => judge(await pngOf(seen), model))
        if (pad.strokes !== strokes || !strokes.length) continue // cleared or undone meanwhile
        complain('')
        latest = { answer, version: now }
        strip.mark(null)
        present(answer, seen)
      } catch (error) {
        // The verdict shown is about an earlier state of the drawing.
        clear()
        complain(error instanceof Refusal ? error.message : String(error))
      }
    }
    busy = false
    settle()
  }

  // Keeps a finished drawing in the strip; more strokes replace it there.
  function settle() {
    clearTimeout(settling)
    settling = setTimeout(() => {
      if (pad.drawing || latest?.version !== version) return
      entry = strip.put(seen, 'drawing', latest.answer, entry)
      // Unless an earlier entry was chosen meanwhile, the verdict shown is that of the drawing.
      if (!strip.marked) strip.mark(entry)
    }, SETTLED)
  }

  function keep() {
    if (latest?.version === version && pad.strokes.length) strip.put(seen, 'drawing', latest.answer, entry)
  }

  $('clear').addEventListener('click', () => { keep(); pad.clear() })
  $('undo').addEventListener('click', () => pad.undo())
  $('light').addEventListener('change', event => {
    pad.light = event.target.checked
    pad.redraw()
    if (pad.strokes.length) changed()
  })
}

async function judgeFile(name, blob) {
  if (blob.size > model.largest) {
    throw new Refusal(`the file has ${blob.size.toLocaleString('en')} bytes; the server takes at most ` +
      `${model.largest.toLocaleString('en')}`)
  }
  const content = new Blob([await contentOf(blob)])
  const answer = await queue.run(() => judge(content, model))
  // Decoded only after the server has accepted its size.
  const picture = await createImageBitmap(content).catch(unknownPicture)
  present(answer, picture)
  strip.mark(strip.put(picture, name, answer))
}

async function contentOf(blob) {
  try {
    return await blob.arrayBuffer()
  } catch {
    throw new Refusal('it cannot be read. Is it a folder, or was it changed or deleted?')
  }
}

function unknownPicture() {
  const canvas = document.createElement('canvas')
  canvas.width = canvas.height = UNKNOWN
  const context = canvas.getContext('2d')
  context.fillStyle = '#808890'
  context.fillRect(0, 0, UNKNOWN, UNKNOWN)
  return canvas
}

async function judgeFiles(files) {
  const problems = []
  const first = `Only the first ${MOST_FILES} of ${files.length} files are judged.`
  if (files.length > MOST_FILES) problems.push({ text: first })
  complainAbout(problems)
  for (const file of files.slice(0, MOST_FILES)) {
    try {
      await judgeFile(file.name, file)
    } catch (error) {
      const reason = error instanceof Refusal ? error.message : String(error)
      problems.push({ name: file.name, text: /[.?!]$/.test(reason) ? reason : `${reason}.` })
      complainAbout(problems)
      if (error instanceof Unreachable) return
    }
  }
}

function startFiles() {
  $('files').addEventListener('change', event => {
    judgeFiles([...event.target.files])
    event.target.value = ''
  })
  const carriesFiles = event => [...(event.dataTransfer?.types ?? [])].includes('Files')
  addEventListener('dragover', event => {
    if (!carriesFiles(event)) return
    event.preventDefault()
    document.body.classList.add('dropping')
  })
  addEventListener('dragleave', event => {
    if (!event.relatedTarget) document.body.classList.remove('dropping')
  })
  addEventListener('drop', event => {
    document.body.classList.remove('dropping')
    if (!carriesFiles(event)) return
    event.preventDefault()
    judgeFiles([...event.dataTransfer.files])
  })
}

function startExamples() {
  for (const example of model.examples) {
    const button = element('button')
    button.type = 'button'
    const picture = element('img')
    picture.src = example.address
    picture.alt = ''
    picture.loading = 'lazy'
    button.append(picture, element('span', '', example.name))
    button.addEventListener('click', async () => {
      complain('')
      try {
        await judgeFile(`example: ${example.name}`, await fetchExample(example.address))
      } catch (error) {
        complain(error instanceof Refusal ? error.message : String(error))
      }
    })
    const item = element('li')
    item.append(button)
    $('examples').append(item)
  }
  $('example-box').hidden = !model.examples.length
}

function describeModel() {
  const classes = `${model.classes.toLocaleString('en')} classes`
  // The server does not take the type that curl gives to files, that of a form, for a text.
  const file = model.mode === null ? "text.txt -H 'Content-Type: text/plain'" : 'image.png'
  $('command').textContent = `curl --data-binary @${file} ${new URL('judge', document.baseURI)}`
  if (model.mode === null) {
    $('about').textContent = `${model.model}: ${classes} of texts. This page can show images only: send texts to the ` +
      'server from a program, as below.'
    return
  }
  const kind = model.mode === 'L' ? 'grey' : 'coloured'
  $('about').textContent = `${model.model}: ${classes}, ${kind} images, resized to ${model.side} pixels.`
}

async function start() {
  try {
    model = await describe()
  } catch (error) {
    complain(error instanceof Refusal ? error.message : String(error))
    return
  }
  describeModel()
  if (model.mode === null) return
  const hasPad = model.mode === 'L'
  $('more').hidden = $('verdict').hidden = false
  $('input').hidden = !hasPad
  $('no-pad').hidden = hasPad
  document.body.classList.toggle('without-pad', !hasPad)
  if (hasPad) startPad()
  startFiles()
  startExamples()
}

start()
