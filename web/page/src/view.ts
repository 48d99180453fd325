// What the shell and its views know of each other.

import type { Route } from './route.js';
import type { Session } from './session.js';

/** What a view gets. */
export interface ViewContext {
  /** The API key or the voucher. */
  session: Session;
  /** The route at the start of the view. */
  route: Route;
  /** Is called with each later route of this view. Set it to follow them. */
  onRoute: (route: Route) => void;
  /**
   * Goes to a route, unless the reader has left the view. `replace` leaves no entry in the history, as for filters.
   */
  navigate(route: Route, replace?: boolean): void;
  /** Reads a text to users of screen readers. */
  announce(text: string): void;
  /** The base of the API, which ends with a slash. */
  base: URL;
}

/** Builds a view in an element. Returns what ends it: timers, streams, listeners. */
export type View = (root: HTMLElement, context: ViewContext) => () => void;
