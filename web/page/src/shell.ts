// The frame around the views: navigation, key, theme, state of the server.

import { accessButton } from './access.js';
import { el, fill, icon } from './dom.js';
import { prove } from './prove/index.js';
import { parseRoute, routeHash } from './route.js';
import type { Route } from './route.js';
import { serverState } from './server_state.js';
import { Session } from './session.js';
import { chooseTheme, storedTheme } from './theme.js';
import type { Theme } from './theme.js';
import type { View, ViewContext } from './view.js';

interface Entry {
  name: string;
  title: string;
  load: () => View | Promise<View>;
}

/** The link for keyboards. */
const CONTENT = '#main';

/** The views, in the order of the navigation. The first one is loaded with the page, the others when they are opened. */
const FIRST: Entry = { name: 'prove', title: 'Prove', load: () => prove };
const VIEWS: readonly Entry[] = [
  FIRST,
  { name: 'board', title: 'Board', load: async () => (await import('./board/index.js')).board },
];

const THEMES: readonly { theme: Theme; label: string; paths: string[] }[] = [
  { theme: 'system', label: 'As the system', paths: ['M4 5h16v11H4z', 'M9 20h6', 'M12 16v4'] },
  { theme: 'light', label: 'Light', paths: ['M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z', 'M12 2v2M12 20v2M4.9 4.9l1.4 1.4M17.7 17.7l1.4 1.4M2 12h2M20 12h2M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4'] },
  { theme: 'dark', label: 'Dark', paths: ['M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z'] },
];

/** The frame. */
export class Shell {
  readonly #session = new Session();
  readonly #main = el('main', { id: 'main', tabindex: -1 });
  readonly #live = el('p', { class: 'visually-hidden', role: 'status', 'aria-live': 'polite' });
  readonly #links = new Map<string, HTMLAnchorElement>();
  readonly #app: HTMLElement;
  #shown: { name: string; context: ViewContext; end: () => void } | undefined;

  constructor(app: HTMLElement) {
    this.#app = app;
  }

  /** Shows the frame and the view of the URL, and follows the URL. */
  start(): void {
    const base = new URL('./', location.href);
    const links = VIEWS.map(({ name, title }) => {
      const link = el('a', { href: `#/${name}` }, title);
      this.#links.set(name, link);
      return link;
    });
    const header = el('header', { class: 'bar' },
      el('a', { class: 'brand', href: '#/prove', 'aria-label': 'Edgeprove' }, mark(), el('span', {}, 'Edgeprove')),
      el('nav', { 'aria-label': 'Pages' }, links),
      el('div', { class: 'bar-end' },
        serverState(base),
        accessButton(this.#session),
        themeSwitch()));
    fill(this.#app, header, this.#main, this.#live);
    addEventListener('hashchange', () => this.#show(parseRoute(location.hash), base));
    this.#show(parseRoute(location.hash), base);
    document.documentElement.dataset['ready'] = '';
  }

  /** Whether the URL names a view. The link to the content names none. */
  #isAt(name: string): boolean {
    return location.hash === CONTENT || viewOf(parseRoute(location.hash)).name === name;
  }

  #show(route: Route, base: URL): void {
    // The link for keyboards leads to the content, and to no view.
    if (location.hash === CONTENT) {
      this.#main.focus();
      return;
    }
    const entry = viewOf(route);
    if (this.#shown?.name === entry.name) {
      this.#shown.context.onRoute(route);
      return;
    }
    const isFirst = this.#shown === undefined;
    this.#shown?.end();
    for (const [name, link] of this.#links) {
      if (name === entry.name) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    document.title = `${entry.title} · Edgeprove`;
    const context: ViewContext = {
      session: this.#session,
      route,
      onRoute: () => {},
      navigate: (to, replace = false) => {
        // The URL may name another view already, whose event has not arrived: the reader has gone on, and stays there.
        if (this.#shown?.context !== context || !this.#isAt(entry.name)) return;
        const hash = routeHash(to);
        if (replace) history.replaceState(null, '', hash);
        else location.hash = hash;
      },
      announce: (text) => {
        this.#live.textContent = text;
      },
      base,
    };
    this.#main.dataset['view'] = entry.name;
    fill(this.#main);
    const shown = { name: entry.name, context, end: () => {} };
    this.#shown = shown;
    const begin = (view: View): void => {
      // The reader may have gone on while the view was loaded.
      if (this.#shown === shown) shown.end = view(this.#main, context);
    };
    const loaded = entry.load();
    if (loaded instanceof Promise) {
      loaded.then(begin, () => {
        if (this.#shown === shown) fill(this.#main, failure());
      });
    } else {
      begin(loaded);
    }
    if (!isFirst) {
      scrollTo(0, 0);
      this.#main.focus({ preventScroll: true });
    }
  }
}

/** The view of a route. */
function viewOf(route: Route): Entry {
  return VIEWS.find(({ name }) => name === route.view) ?? FIRST;
}

/** A file of the page that does not load: the server is gone, or is another version by now. */
function failure(): HTMLElement {
  return el('div', { class: 'failure', role: 'alert' },
    el('h1', {}, 'This page did not load'),
    el('p', { class: 'note' }, 'The server cannot be reached, or it was updated meanwhile.'),
    el('button', { type: 'button', class: 'primary', onclick: () => location.reload() }, 'Load again'));
}

function mark(): SVGElement {
  const drawn = icon('M6 12.5l4 4 8-9');
  drawn.classList.add('mark');
  return drawn;
}

/** A group of three buttons. */
function themeSwitch(): HTMLElement {
  const chosen = storedTheme();
  const buttons = THEMES.map(({ theme, label, paths }) => {
    const button = el('button', {
      type: 'button', title: label, 'aria-label': label, 'aria-pressed': String(theme === chosen),
      onclick: () => {
        chooseTheme(theme);
        for (const other of buttons) other.setAttribute('aria-pressed', String(other === button));
      },
    }, icon(...paths));
    return button;
  });
  return el('div', { class: 'themes', role: 'group', 'aria-label': 'Theme' }, buttons);
}
