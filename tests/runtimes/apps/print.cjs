/** As print.mjs, through `require`. */
const api = require('session-edge');

Promise.all([import('../data.mjs'), import('../scenario.mjs')]).then(async ([{ data }, { report }]) => {
  console.log(JSON.stringify(await report(api, data)));
});
