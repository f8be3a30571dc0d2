// Requests to the server, one at a time.

// A busy server says when to try again; longer waits are not worth it on a page.
const ATTEMPTS = 4
const LONGEST_WAIT = 2000
const RESTARTED = 'The server was restarted with another network or TrustModel. Reload this page.'

export class Refusal extends Error {}

// The server does not answer, so that further requests are of no use.
export class Unreachable extends Refusal {
  constructor() {
    super('The server does not answer. Is it still running?')
  }
}

async function answerOf(request, read = response => response.json()) {
  let response
  try {
    response = await request()
  } catch {
    throw new Unreachable()
  }
  try {
    if (response.ok) return [response, await read(response)]
  } catch {
    throw new Unreachable()
  }
  let detail = `the server answers with ${response.status}`
  try {
    const problem = await response.json()
    if (typeof problem.detail === 'string') detail = problem.detail
  } catch {
    // Not JSON: a proxy has answered.
  }
  return [response, detail]
}

export async function describe() {
  const [response, answer] = await answerOf(() => fetch('model'))
  if (!response.ok) throw new Refusal(answer)
  return answer
}

export async function fetchExample(address) {
  const [response, answer] = await answerOf(() => fetch(address), response => response.blob())
  if (!response.ok) throw new Refusal(answer)
  return answer
}

export async function judge(blob, model) {
  for (let attempt = 1; ; attempt += 1) {
    const headers = { 'Content-Type': 'application/octet-stream' }
    const [response, answer] = await answerOf(() => fetch('judge/details', { method: 'POST', headers, body: blob }))
    // The page shows the threshold and the classes of the network that it was opened with.
    if (response.ok && answer.server !== model.server) throw new Refusal(RESTARTED)
    if (response.ok) return answer
    if (response.status !== 503 || attempt === ATTEMPTS) throw new Refusal(answer)
    const seconds = Number(response.headers.get('Retry-After')) || 1
    await new Promise(resolve => setTimeout(resolve, Math.min(1000 * seconds, LONGEST_WAIT)))
  }
}

// Runs tasks one after another, in the order in which they were given.
export class Queue {
  #last = Promise.resolve()

  run(task) {
    const result = this.#last.then(task)
    this.#last = result.catch(() => undefined)
    return result
  }
}
