// What the server said last, as one value; every event goes through `apply`, every view redraws from `state`. Knows no network and no elements.

const KEPT_PICTURES = 60, KEPT_EXTRAS = 1000;

export const state = {
  boot: null, jobs: new Map(), waiting: [], pictures: [], extras: [], progress: null, preview: null, hashing: null, working: null, notices: [], up: true, checkpoints: null,
  replays: new Map(),
};
const listeners = new Set();
let newest = { job: null, seq: 0 }; // the last preview that was taken

export function subscribe(listener) {
  listeners.add(listener);
}

export function change(values, event = { type: 'local' }) {
  Object.assign(state, values);
  for (const listener of listeners) listener(state, event);
}

// The job that owns the device, if any: hashing a file runs beside it and is not what the page shows.
export function running() {
  const jobs = [...state.jobs.values()].filter((job) => job.status === 'running' && job.lane.startsWith('device'));
  return jobs.sort((a, b) => b.started - a.started)[0] ?? null; // one that began before is only being saved
}

export const waitingJobs = () => state.waiting.map((id) => state.jobs.get(id)).filter((job) => job && job.status === 'queued');
export const foreverJobs = () => [...state.jobs.values()].filter((job) => job.repeat && (job.status === 'running' || job.status === 'queued'));

function withPictures(added) {
  const known = new Set(added.map((picture) => picture.id));
  const all = [...state.pictures.filter((picture) => !known.has(picture.id)), ...added].sort((a, b) => a.id - b.id);
  return all.slice(-KEPT_PICTURES);
}

function withJob(job) {
  const jobs = new Map(state.jobs).set(job.id, job);
  const ended = [...jobs.values()].filter((item) => item.ended !== null).sort((a, b) => a.ended - b.ended);
  for (const old of ended.slice(0, Math.max(0, ended.length - 50))) jobs.delete(old.id); // "forever" must not fill the memory
  return jobs;
}

const reducers = {
  snapshot: (event) => ({
    boot: event.boot, jobs: new Map(event.jobs.map((job) => [job.id, job])), waiting: event.waiting, pictures: withPictures(event.pictures),
    progress: event.progress, preview: event.preview, hashing: event.hashing, working: event.working, notices: event.notices,
    replays: new Map([...state.replays, ...event.replays.map((report) => [report.picture_id, report])]),
  }),
  progress: (event) => ({ progress: event }),
  preview: (event) => {
    if (newest.job === event.job_id && newest.seq > event.seq) return {}; // came late
    newest = { job: event.job_id, seq: event.seq };
    return { preview: event };
  },
  job: ({ job }) => {
    const over = (item) => (item && item.job_id === job.id && job.status !== 'running' ? null : item);
    return { jobs: withJob(job), progress: over(state.progress), preview: over(state.preview), hashing: over(state.hashing), working: over(state.working) };
  },
  queue: (event) => ({ waiting: event.waiting }),
  picture: ({ picture }) => {
    const job = state.jobs.get(picture.job_id), known = [...state.pictures, ...state.extras].some((item) => item.id === picture.id);
    const jobs = job && !known ? new Map(state.jobs).set(job.id, { ...job, pictures: job.pictures + 1 }) : state.jobs;
    if (job?.kind === 'extras') return { jobs, extras: [...state.extras.filter((item) => item.id !== picture.id), picture].slice(-KEPT_EXTRAS) };
    return { jobs, pictures: withPictures([picture]), preview: null };
  },
  picture_filed: ({ picture }) => (state.pictures.some((item) => item.id === picture.id) ? { pictures: withPictures([picture]) } : {}),
  hashing: (event) => ({ hashing: event }),
  working: (event) => ({ working: event }),
  replay: ({ report }) => ({ replays: new Map(state.replays).set(report.picture_id, report) }),
  notice: (event) => ({ notices: [...state.notices.filter((item) => item.id !== event.id), event] }),
};

export function apply(event) {
  change(reducers[event.type] ? reducers[event.type](event) : {}, event);
}
