// Numbers and verdicts in words.

export function percent(share) {
  if (share > 0 && share < 0.001) return '< 0.1 %'
  if (share < 1 && share > 0.999) return '> 99.9 %'
  return `${(100 * share).toFixed(1)} %`
}

export function decision(answer) {
  if (answer.accepted === null) return 'There is no risk guarantee, so nothing is accepted or rejected.'
  return answer.accepted ? 'Accepted' : 'Not accepted'
}

export function reason(answer) {
  if (!answer.reason) return ''
  if (answer.reason === 'doubtful') return 'Doubtful: the prediction is too likely to be wrong.'
  const [, layers] = answer.reason.split(': ')
  const start = 'Unfamiliar: the network has not learned this kind of input.'
  return layers ? `${start} It is farthest from known inputs in ${layers}.` : start
}

const MEASURES = { gradient: 'gradient', distance: 'output' }

export function objections(layers) {
  if (!layers.length) return 'This TrustModel reads no layers.'
  if (layers.every(layer => layer.objects === null)) {
    return 'This TrustModel was fitted by an earlier version, which kept no ranges; fit it again to see them.'
  }
  const names = layers.filter(layer => layer.objects).map(layer => `${layer.layer} (${MEASURES[layer.measure]})`)
  return names.length ? `Objecting: ${names.join(', ')}.` : 'No layer objects.'
}

export function guarantee(given) {
  if (!given) return 'There is no risk guarantee: fit the TrustModel with --risk for one.'
  const names = { p_correct: 'P(correct)', p_known: 'P(known)', p_correct_if_known: 'P(correct | known)' }
  return (
    `At most ${+(100 * given.risk).toPrecision(6)} % of the accepted predictions are wrong, with ` +
    `${+(100 * given.confidence).toPrecision(6)} % confidence, for inputs drawn like those that the threshold was ` +
    `chosen on. Accepted if ${names[given.score]} is at least ${percent(given.threshold)}.`
  )
}

export function spoken(answer) {
  const parts = [`Prediction ${answer.prediction}.`, `${decision(answer)}.`, `P(correct) ${percent(answer.p_correct)}.`]
  return [...parts, reason(answer), objections(answer.layers)].filter(Boolean).join(' ')
}
