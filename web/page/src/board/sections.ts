// The sections of the board, as `GET /v1/board/events` sends them (docs/API.md).

/** How many proofs ended how, and how long the successful ones took. */
export interface ProofStats {
  active: number;
  waiting: number;
  success: number;
  caller_error: number;
  server_error: number;
  abandoned: number;
  success_rate: number | null;
  duration_ms: Quantiles | null;
}

/** Quantiles of durations, in milliseconds. */
export interface Quantiles {
  p50: number;
  p95: number;
  p99: number;
}

/** The caller of the stream. */
export interface Caller {
  name: string | null;
  role: string;
  sees_all_jobs: boolean;
  may_operate: boolean;
}

/** The server. */
export interface ServerSection {
  version: string;
  started_at: string;
  not_ready: string | null;
  container: number | null;
  viewers: number;
}

/** The jobs of the queue. */
export interface JobsSection {
  kinds: Record<string, Record<string, number>>;
  statuses: Record<string, number>;
  queued: Record<string, number>;
  running: Record<string, number>;
  oldest_queued_since: Record<string, string>;
}

/** Recent proofs of one server. */
export interface ProofsSection {
  all: ProofStats;
  circuits: Record<string, ProofStats>;
}

/** One minute in which proofs ended. */
export interface Minute {
  at: string;
  success: number;
  caller_error: number;
  server_error: number;
  abandoned: number;
  duration_ms: Quantiles | null;
}

/** The last hour. */
export interface HistorySection {
  minutes: number;
  points: Minute[];
}

/** The provers of one server. */
export interface ProversSection {
  mode: string;
  cores: number;
  cores_free: number;
  running: number;
  waiting: Record<string, number>;
  waiting_max: number;
  memory_max_bytes: number | null;
  memory_reserved_bytes: number;
  processes: number[];
  server_bytes: number;
  restarts: Record<string, number>;
  proofs: number;
}

/** The proof cache of one server. */
export interface CacheSection {
  proofs: number;
  proofs_max: number;
  hits: number;
  misses: number;
}

/** A circuit. */
export interface Circuit {
  id: string;
  status: string;
  target: string;
  origin: string;
  gates: number | null;
  memory_peak_bytes: number | null;
  build?: { status: string; stage: string; progress: number; attempts: number; max_attempts: number } | null;
  error?: string | null;
}

/** The circuits. */
export interface CircuitsSection {
  circuits: Circuit[];
  has_more: boolean;
}

/** A problem of proofs. */
export interface Problem {
  code: string;
  title: string;
  severity: string;
  proofs: number;
  last_at: string;
}

/** All sections of one server. Those that were not sent yet are missing. */
export interface Sections {
  caller: Caller;
  server: ServerSection;
  jobs: JobsSection | null;
  proofs: ProofsSection;
  history: HistorySection;
  provers: ProversSection;
  cache: CacheSection;
  circuits: CircuitsSection;
  problems: Problem[];
}

/** The states of jobs, in the order of their life. */
export const STATUSES = ['queued', 'running', 'completed', 'failed', 'cancelled', 'expired'] as const;

/** Priorities, the most urgent first. */
export const PRIORITIES = ['CRITICAL', 'HIGH', 'NORMAL', 'LOW'] as const;
