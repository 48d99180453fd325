// Where in the pages the reader is. It stands in the fragment of the URL, so the server needs no route for it, and the
// pages work below any path.

/** `#/board?status=failed` is the view `board`, without further segments, and with one parameter. */
export interface Route {
  view: string;
  segments: string[];
  query: URLSearchParams;
}

/** The route of a fragment. */
export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  const [view = '', ...segments] = path.split('/').map(decoded);
  return { view: view || 'prove', segments, query: new URLSearchParams(query) };
}

/** The fragment of a route. */
export function routeHash({ view, segments, query }: Route): string {
  const path = [view, ...segments].map(encodeURIComponent).join('/');
  const text = query.toString();
  return `#/${path}${text === '' ? '' : `?${text}`}`;
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
