// The last inputs and their verdicts, the newest first.

import { decision, percent } from './words.js'
import { element } from './view.js'

const MOST = 24
const SIDE = 96

export class Strip {
  #list
  #section
  #onSelect
  #entries = []

  constructor(section, list, onSelect) {
    this.#section = section
    this.#list = list
    this.#onSelect = onSelect
  }

  // Adds an input, or replaces `earlier`, and returns its entry. picture: a canvas; name: text.
  put(picture, name, answer, earlier = null) {
    const entry = { picture: copied(picture, SIDE), answer, name, item: element('li') }
    const button = element('button')
    button.type = 'button'
    const sign = { true: '✓', false: '✕', null: '' }[answer.accepted]
    const kind = { true: 'accepted', false: 'rejected', null: '' }[answer.accepted]
    button.title = name
    button.append(
      entry.picture,
      element('span', 'for-readers', `${name}, prediction `),
      element('span', kind, `${sign} ${answer.prediction}`),
      element('span', 'for-readers', `, ${answer.accepted === null ? '' : `${decision(answer)}, `}P(correct) `),
      element('span', '', percent(answer.p_correct))
    )
    button.addEventListener('click', () => {
      this.mark(entry)
      this.#onSelect(entry)
    })
    entry.item.append(button)
    if (earlier && this.#entries.includes(earlier)) {
      this.#entries[this.#entries.indexOf(earlier)] = entry
      earlier.item.replaceWith(entry.item)
    } else {
      this.#entries.unshift(entry)
      this.#list.prepend(entry.item)
    }
    for (const old of this.#entries.splice(MOST)) old.item.remove()
    this.#section.hidden = false
    return entry
  }

  get marked() {
    return this.#list.querySelector('[aria-current]') !== null
  }

  // Marks the entry whose verdict is shown; null: none.
  mark(entry) {
    for (const other of this.#entries) {
      const button = other.item.firstChild
      if (other === entry) button.setAttribute('aria-current', 'true')
      else button.removeAttribute('aria-current')
    }
  }
}

// Returns a square copy of a picture, which keeps its proportions.
export function copied(picture, side) {
  const canvas = document.createElement('canvas')
  canvas.width = canvas.height = side
  canvas.setAttribute('aria-hidden', 'true')
  fill(canvas, picture)
  return canvas
}

export function fill(canvas, picture) {
  const context = canvas.getContext('2d')
  const scale = Math.min(canvas.width / picture.width, canvas.height / picture.height)
  context.imageSmoothingEnabled = scale < 1
  context.clearRect(0, 0, canvas.width, canvas.height)
  const [width, height] = [picture.width * scale, picture.height * scale]
  context.drawImage(picture, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height)
}
