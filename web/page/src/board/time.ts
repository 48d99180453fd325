// Times as people read them on a board.

/** How long ago: `12 s`, `4 min`, `3 h`, `2 d`. */
export function age(since: string, now = Date.now()): string {
  return span(now - Date.parse(since));
}

/** A span of time in its largest unit. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** A time of the day, or with the date where it is another day. */
export function clock(at: string): string {
  const time = new Date(at);
  const isToday = time.toDateString() === new Date().toDateString();
  return isToday ? time.toLocaleTimeString('en-GB') : time.toLocaleString('en-GB', { dateStyle: 'short', timeStyle: 'medium' });
}
