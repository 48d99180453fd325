// Applies the chosen theme before the first paint. It is a script of its own, because the page allows no inline script.

import { applyTheme, storedTheme } from './theme.js';

applyTheme(storedTheme());
