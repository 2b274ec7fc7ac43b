// Asks the server what the drawing is: one request at a time, always of the newest drawing; those
// between are never sent, and answers to a drawing that is gone are dropped.
const PACE_MS = 40; // from one request to the next, while one draws
const PATIENCE_MS = 10_000; // for an answer
const LONGEST_WAIT_S = 30; // before a server in trouble is asked again
const MAY_PASS = new Set([408, 429, 500, 502, 503, 504]);

// An answer that did not come, in one sentence; `wait` is for how long the server asks to be left.
class Failure extends Error {
  constructor(sentence, { passes, wait = 0 }) {
    super(sentence);
    Object.assign(this, { passes, wait });
  }
}

export class Reader {
  #picture;
  #told;
  #failed;
  #stale = false; // whether the drawing has changed since it was last sent
  #running = false;
  #leave = new AbortController();
  #timer = null; // until a server in trouble is asked again
  #failures = 0; // one after another

  // `picture()` gives the drawing to send; `told(answer, newest)` and `failed(sentence, again)` are
  // called with what comes of it, `again` being the seconds until the next try, or null.
  constructor({ picture, told, failed }) {
    [this.#picture, this.#told, this.#failed] = [picture, told, failed];
  }

  // The drawing has changed. A server in trouble is not asked for every stroke.
  ask() {
    this.#stale = true;
    if (!this.#running && this.#timer === null) this.#run();
  }

  // Ask at once, trouble or not.
  again() {
    this.#wake();
    this.ask();
  }

  // The drawing is gone: nothing that was asked about it is of interest any more.
  forget() {
    this.#stale = false;
    this.#failures = 0;
    this.#wake();
    this.#leave.abort();
  }

  async #run() {
    this.#running = true;
    try {
      while (this.#stale && this.#timer === null) {
        this.#stale = false;
        this.#leave = new AbortController();
        const paced = pause(PACE_MS);
        await this.#once(this.#leave.signal);
        await paced;
      }
    } finally {
      this.#running = false;
    }
  }

  async #once(left) {
    try {
      const answer = await request(await this.#picture(), left);
      if (left.aborted) return;
      await this.#told(answer, !this.#stale);
      this.#failures = 0;
    } catch (failure) {
      if (left.aborted) return;
      if (!(failure instanceof Failure)) throw failure;
      this.#failed(failure.message, failure.passes ? this.#later(failure.wait) : null);
    }
  }

  #later(wait) {
    const seconds = Math.min(Math.max(wait, 2 ** this.#failures++), LONGEST_WAIT_S);
    this.#timer = setTimeout(() => this.again(), seconds * 1000);
    return seconds;
  }

  #wake() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }
}

function request(image, left) {
  const headers = { "content-type": "image/png" };
  const signal = AbortSignal.any([left, AbortSignal.timeout(PATIENCE_MS)]);
  return asked("/predict?with_input=true", { method: "POST", headers, body: image, signal });
}

// What the server answers, as JSON; raises Failure.
export async function asked(path, options) {
  const [response, body] = await exchanged(path, options);
  if (response.ok) return body;
  throw new Failure(body.error ?? `The server answered with status ${response.status}.`, {
    passes: MAY_PASS.has(response.status),
    wait: Number(response.headers.get("retry-after")) || 0,
  });
}

async function exchanged(path, options) {
  try {
    const response = await fetch(path, options);
    const text = await response.text();
    return [response, text.startsWith("{") ? JSON.parse(text) : {}];
  } catch {
    throw new Failure("The server does not answer; is it still running?", { passes: true });
  }
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
