// A server's jobs: what each asks for, how far it is, what it found.
import { element, fill } from './dom.js';
import { count, percent, time } from './format.js';

export const ENDED = ['done', 'failed', 'cancelled'];

export function describeJob({ kind, request }) {
  if (kind !== 'tune') return `${kind}${Array.isArray(request.workload?.rows ?? request.workload) ? ` of ${(request.workload.rows ?? request.workload).length} shapes` : ''}`;
  const s = request.shape;
  return `b${s.batch} h${s.q_heads}/${s.kv_heads} s${s.q_len}x${s.kv_len} d${s.head_dim} ${s.dtype}${s.mask === 'none' ? '' : ' causal'}`;
}

// jobs: newest first. progress: Map of id to {trials, best_us} for those that are or were followed.
export function showJobs(holder, { jobs, progress, choose, cancel }) {
  if (jobs.length === 0) return fill(holder, element('p', { class: 'note' }, 'No jobs yet. POST one to /v1/jobs, and it shows here.'));
  const names = ['Job', 'State', 'What', 'Progress', 'Best', 'Strategy', 'Client', 'Submitted', ''];
  const focused = document.activeElement?.closest?.('#jobs')?.querySelector(':focus')?.dataset.key;
  fill(holder, element('table', { class: 'data' },
    element('caption', { class: 'hidden' }, 'Jobs, the newest first'),
    element('thead', {}, element('tr', {}, ...names.map((name) => element('th', { scope: 'col', class: name === 'Best' ? 'number' : '' }, name || element('span', { class: 'hidden' }, 'Action'))))),
    element('tbody', {}, ...jobs.map((job) => row(job, progress.get(job.id), choose, cancel)))));
  if (focused) holder.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

function row(job, progress, choose, cancel) {
  const most = job.request.max_trials;
  return element('tr', { 'data-job': job.id },
    element('th', { scope: 'row' }, String(job.id)),
    element('td', {}, element('span', { class: 'state', 'data-state': job.state, title: job.message }, job.state),
      job.message !== '' && ['failed', 'queued'].includes(job.state) && element('span', { class: 'muted' }, ` ${job.message}`)),
    element('td', {}, job.kind === 'tune'
      ? element('button', { type: 'button', class: 'link', 'data-key': `show-${job.id}`, title: 'Look at this shape alone', onclick: () => choose(job) }, describeJob(job))
      : describeJob(job)),
    element('td', {}, progressCell(job, progress, most)),
    element('td', { class: 'number' }, progress?.best_us ? time(progress.best_us) : '–'),
    element('td', {}, job.request.strategy ?? ''),
    element('td', {}, job.client),
    element('td', {}, job.created_at.replace('T', ' ').replace('Z', '')),
    element('td', {}, !ENDED.includes(job.state) && element('button', { type: 'button', class: 'quiet', 'data-key': `cancel-${job.id}`, 'aria-label': `Cancel job ${job.id}`, disabled: job.state === 'cancelling', onclick: () => cancel(job) }, 'Cancel')));
}

function progressCell(job, progress, most) {
  if (!progress) return job.state === 'queued' ? 'waits' : '–';
  if (!most || ENDED.includes(job.state)) return `${count(progress.trials)} trials`;
  const share = Math.min(1, progress.trials / most);
  return element('span', { class: 'progress' },
    element('progress', { max: most, value: Math.min(most, progress.trials), 'aria-label': `Job ${job.id}` }),
    `${count(progress.trials)} of ${count(most)} (${percent(share)})`);
}
