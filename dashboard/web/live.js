// Keeps the page up to date with its server: job states and trials as events, the columns in parts.
import { byId, element, fill } from './dom.js';
import { follow, get, hasToken, post, Refused, rememberToken } from './server.js';
import { ENDED, showJobs } from './jobs.js';

const JOBS_EVERY_MS = 2000;    // how soon a new job shows
const LEAST_PAUSE_MS = 400;    // between two parts
const MOST_FOLLOWED = 3;       // streams; a browser has six connections to a server
const SHOWN_JOBS = 50;
const OVERLAP = 64;            // trials asked for again: of several writers a lower id may be the later one

export class Live {
  // onData(part), which resolves when it is drawn, onShape(shape): what the page does with them. lastId() is the newest trial it has.
  constructor({ onData, onShape, lastId }) {
    Object.assign(this, { onData, onShape, lastId, jobs: [], progress: new Map(), followed: new Map(), dirty: false });
  }

  async start() {
    byId('jobs-card').hidden = false;
    for (;;) {
      try {
        const server = await get('/v1/server');
        byId('source').textContent = `${server.device.name}${server.replays ? ', replayed from recordings' : ''}, served by attune ${server.version}`;
        await this.onData(await get('/v1/dashboard'));
        this.#state('live', 'live');
        return this.#run();
      } catch (error) {
        await this.#failed(error);
      }
    }
  }

  #state(name, text) {
    byId('connection').hidden = false;
    byId('connection').dataset.state = name;
    byId('connection').textContent = text;
  }

  async #failed(error) {
    if (error instanceof Refused && error.status === 401) return this.#askToken();
    this.#state('lost', `no answer from the server, trying again (${error.message})`);
    await pause(JOBS_EVERY_MS);
  }

  #askToken() {
    this.#state('refused', hasToken() ? 'this token is not accepted' : 'a token is needed');
    return new Promise((resolve) => {
      const field = element('input', { type: 'password', id: 'token', autocomplete: 'off', required: true });
      const form = element('form', { class: 'token' }, element('label', { for: 'token' }, 'Token '), field, element('button', { type: 'submit' }, 'Use'));
      form.addEventListener('submit', (event) => {
        event.preventDefault();
        rememberToken(field.value);
        fill(byId('jobs'));
        resolve();
      });
      fill(byId('jobs'), form);
      field.focus();
    });
  }

  async #run() {
    this.#parts();
    for (;;) {
      try {
        const { jobs } = await get(`/v1/jobs?limit=${SHOWN_JOBS}`);
        this.jobs = jobs;
        this.#state('live', 'live');
        this.#followSome();
        this.#show();
        if (document.visibilityState === 'visible') this.dirty = true;  // others may write to the database too
      } catch (error) {
        await this.#failed(error);
      }
      await pause(JOBS_EVERY_MS);
    }
  }

  #show() {
    showJobs(byId('jobs'), {
      jobs: this.jobs, progress: this.progress, choose: (job) => this.onShape(job.request.shape),
      cancel: async (job) => {
        await post(`/v1/jobs/${job.id}/cancel`).catch((error) => this.#state('lost', error.message));
      },
    });
  }

  // The jobs that run, then those that ended last, whose numbers are wanted once.
  #followSome() {
    const wanted = this.jobs.filter((job) => job.state !== 'queued' && !this.followed.has(job.id) && !this.progress.get(job.id)?.whole);
    wanted.sort((a, b) => ENDED.includes(a.state) - ENDED.includes(b.state) || b.id - a.id);
    for (const job of wanted) {
      if (this.followed.size >= MOST_FOLLOWED) return;
      this.#follow(job.id);
    }
  }

  async #follow(id) {
    const known = this.progress.get(id) ?? { trials: 0, best_us: null, seq: 0, whole: false };
    this.progress.set(id, known);
    this.followed.set(id, true);
    try {
      await follow(`/v1/jobs/${id}/events?after=${known.seq}`, (event, data, seq) => {
        known.seq = Number(seq) || known.seq;
        if (event === 'trial') {
          ++known.trials;
          known.best_us = data.best_us ?? known.best_us;
          this.dirty = true;
        } else if (event === 'state') {
          const job = this.jobs.find((one) => one.id === id);
          if (job) job.state = data.state;
          known.whole = ENDED.includes(data.state);
          this.dirty = true;
        }
        this.stale = true;
      });
    } catch {
      // The list of jobs asks the same server, says what is wrong, and has this tried again.
    }
    this.followed.delete(id);
    this.#followSome();
  }

  // Parts are asked for when something happened, and no faster than they can be drawn.
  async #parts() {
    for (;;) {
      let drawn = 0;
      if (this.stale) {
        this.stale = false;
        this.#show();
      }
      if (this.dirty) {
        this.dirty = false;
        try {
          const part = await get(`/v1/dashboard?after=${Math.max(0, this.lastId() - OVERLAP)}`);
          const begin = performance.now();
          await this.onData(part);
          drawn = performance.now() - begin;
        } catch {
          // As above.
        }
      }
      await pause(Math.max(LEAST_PAUSE_MS, 4 * drawn));
    }
  }
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
