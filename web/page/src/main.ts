// The pages of a server. Read shell.ts for what surrounds the views, then prove/ and board/.

import { Shell } from './shell.js';

const app = document.querySelector<HTMLElement>('#app');
if (app) new Shell(app).start();
