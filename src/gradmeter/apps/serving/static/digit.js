// A drawing as the training digits are: MNIST scales each digit to a box of 20 pixels in a field of 28 and puts its
// centre of mass in the middle of the field; its strokes are 2 to 3.5 pixels wide.

const FIELD = 28
const BOX = 20
const STROKE = 2.6
// In the coordinates of an image of 28 pixels, the centre of mass of MNIST's digits is at the pixel with index 14.
const CENTRE = 14.5
// Samples per pixel and axis, which are averaged.
const SAMPLES = 8
// A dot must not grow to a disc of 20 pixels.
const LARGEST_SCALE = 8 * FIELD

// Draws strokes, lists of points { x, y }, as smooth lines; place maps a point to [x, y].
export function draw(context, strokes, place, width) {
  context.lineCap = context.lineJoin = 'round'
  context.lineWidth = width
  context.fillStyle = context.strokeStyle
  for (const stroke of strokes) {
    const points = stroke.map(place)
    context.beginPath()
    // A canvas draws no line of length zero.
    if (points.every(([x, y]) => x === points[0][0] && y === points[0][1])) {
      context.arc(...points[0], width / 2, 0, 2 * Math.PI)
      context.fill()
      continue
    }
    context.moveTo(...points[0])
    for (let i = 1; i < points.length - 1; i += 1) {
      const middle = [(points[i][0] + points[i + 1][0]) / 2, (points[i][1] + points[i + 1][1]) / 2]
      context.quadraticCurveTo(...points[i], ...middle)
    }
    context.lineTo(...points[points.length - 1])
    context.stroke()
  }
}

// Returns the levels [side * side] from 0 to 255 of strokes on a background of 0.
export function levelsOf(strokes, side) {
  const unit = side / FIELD
  const points = strokes.flat()
  const xs = points.map(point => point.x)
  const ys = points.map(point => point.y)
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)]
  const scale = Math.min((BOX - STROKE) / Math.max(right - left, bottom - top, 1e-9), LARGEST_SCALE)
  const place = (x, y) => point => [
    ((point.x - (left + right) / 2) * scale + x) * unit, ((point.y - (top + bottom) / 2) * scale + y) * unit
  ]
  const middle = centreOf(rendered(strokes, place(FIELD / 2, FIELD / 2), STROKE * unit, side), side)
  // The whole drawing stays in the field.
  const halves = [right - left, bottom - top].map(extent => (extent * scale + STROKE) / 2)
  const shift = axis => {
    const wanted = FIELD / 2 + CENTRE - (middle[axis] + 0.5) / unit
    return Math.min(Math.max(wanted, halves[axis]), FIELD - halves[axis])
  }
  return rendered(strokes, place(shift(0), shift(1)), STROKE * unit, side)
}

function rendered(strokes, place, width, side) {
  const fine = side * SAMPLES
  const canvas = document.createElement('canvas')
  canvas.width = canvas.height = fine
  const context = canvas.getContext('2d', { willReadFrequently: true })
  context.fillStyle = '#000'
  context.fillRect(0, 0, fine, fine)
  context.strokeStyle = '#fff'
  context.scale(SAMPLES, SAMPLES)
  draw(context, strokes, place, width)
  const data = context.getImageData(0, 0, fine, fine).data
  const sums = new Float64Array(side * side)
  for (let y = 0; y < fine; y += 1) {
    const row = Math.floor(y / SAMPLES) * side
    for (let x = 0; x < fine; x += 1) sums[row + Math.floor(x / SAMPLES)] += data[4 * (y * fine + x)]
  }
  return sums.map(sum => Math.round(sum / SAMPLES ** 2))
}

// Returns the centre of mass [x, y] in pixels; a pixel's own centre is its index.
function centreOf(levels, side) {
  let [total, x, y] = [0, 0, 0]
  levels.forEach((level, index) => {
    total += level
    x += level * (index % side)
    y += level * Math.floor(index / side)
  })
  return total ? [x / total, y / total] : [side / 2 - 0.5, side / 2 - 0.5]
}

// Puts levels on a canvas of their size; light: dark strokes on a light background.
export function paint(canvas, levels, side, light) {
  canvas.width = canvas.height = side
  const image = new ImageData(side, side)
  levels.forEach((level, index) => {
    image.data.fill(light ? 255 - level : level, 4 * index, 4 * index + 3)
    image.data[4 * index + 3] = 255
  })
  canvas.getContext('2d').putImageData(image, 0, 0)
}

export function pngOf(canvas) {
  return new Promise(resolve => canvas.toBlob(resolve, 'image/png'))
}
