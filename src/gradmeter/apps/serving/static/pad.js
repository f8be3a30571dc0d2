// A sketch pad for mouse, pen, touch and keyboard.

import { draw } from './digit.js'

const WIDTH = 0.07
// Steps of the keyboard's pen, as a share of the pad.
const STEP = 1 / 28
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }

export class Pad {
  strokes = []
  light = false
  #canvas
  #onChange
  #onEnd
  #pointer = null
  #cursor = null
  #penDown = false

  // onChange: called after every change; onEnd: called when a stroke ends.
  constructor(canvas, onChange, onEnd) {
    this.#canvas = canvas
    this.#onChange = onChange
    this.#onEnd = onEnd
    canvas.addEventListener('pointerdown', event => this.#begin(event))
    canvas.addEventListener('pointermove', event => this.#move(event))
    for (const kind of ['pointerup', 'pointercancel', 'lostpointercapture']) canvas.addEventListener(kind, event => this.#end(event))
    canvas.addEventListener('keydown', event => this.#key(event))
    canvas.addEventListener('blur', () => this.#leave())
    this.redraw()
  }

  get drawing() {
    return this.#pointer !== null || this.#penDown
  }

  clear() {
    this.strokes = []
    this.#lift()
    this.#changed()
  }

  undo() {
    this.strokes.pop()
    this.#lift()
    this.#changed()
  }

  redraw() {
    const size = this.#canvas.width
    const context = this.#canvas.getContext('2d')
    const [background, ink] = this.light ? ['#fff', '#000'] : ['#000', '#fff']
    context.fillStyle = background
    context.fillRect(0, 0, size, size)
    context.strokeStyle = ink
    draw(context, this.strokes, point => [point.x * size, point.y * size], WIDTH * size)
    if (this.#cursor) {
      context.strokeStyle = this.#penDown ? '#e5534b' : '#6cb6ff'
      context.lineWidth = 4
      context.beginPath()
      context.arc(this.#cursor.x * size, this.#cursor.y * size, 14, 0, 2 * Math.PI)
      context.stroke()
    }
  }

  // Ends the stroke that is being drawn, which may be removed while the pointer or the pen is down.
  #lift() {
    this.#pointer = null
    this.#penDown = false
  }

  #changed() {
    this.redraw()
    this.#onChange()
  }

  #place(event) {
    const frame = this.#canvas.getBoundingClientRect()
    const within = value => Math.min(Math.max(value, 0), 1)
    const [x, y] = [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height]
    return { x: within(x), y: within(y) }
  }

  #begin(event) {
    if (event.button !== 0 || this.#pointer !== null) return
    this.#pointer = event.pointerId
    this.#canvas.setPointerCapture(event.pointerId)
    this.#cursor = null
    this.#penDown = false
    this.strokes.push([this.#place(event)])
    this.#changed()
  }

  #move(event) {
    if (event.pointerId !== this.#pointer) return
    const stroke = this.strokes[this.strokes.length - 1]
    // The list is empty for events that a program made.
    const events = event.getCoalescedEvents?.() ?? []
    stroke.push(...(events.length ? events : [event]).map(single => this.#place(single)))
    this.#changed()
  }

  #end(event) {
    if (event.pointerId !== this.#pointer) return
    this.#pointer = null
    this.#onEnd()
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return
    if (event.key in MOVES) this.#step(MOVES[event.key])
    else if (event.key === ' ' || event.key === 'Enter') this.#toggle()
    else if (event.key === 'Backspace') this.undo()
    else if (event.key === 'Escape' || event.key === 'Delete') this.clear()
    else return
    event.preventDefault()
  }

  #step([right, down]) {
    const from = this.#cursor ?? { x: 0.5, y: 0.5 }
    const within = value => Math.min(Math.max(value, 0.05), 0.95)
    this.#cursor = { x: within(from.x + right * STEP), y: within(from.y + down * STEP) }
    if (this.#penDown) {
      this.strokes[this.strokes.length - 1].push({ ...this.#cursor })
      this.#changed()
    } else {
      this.redraw()
    }
  }

  #toggle() {
    this.#cursor ??= { x: 0.5, y: 0.5 }
    this.#penDown = !this.#penDown
    if (this.#penDown) {
      this.strokes.push([{ ...this.#cursor }])
      this.#changed()
    } else {
      this.redraw()
      this.#onEnd()
    }
  }

  #leave() {
    const wasDown = this.#penDown
    this.#cursor = null
    this.#penDown = false
    this.redraw()
    if (wasDown) this.#onEnd()
  }
}
