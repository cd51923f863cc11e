/** As print.mjs, through `require`. */
const api = { ...require('session-edge'), ...require('session-edge/import') };

Promise.all([import('../data.mjs'), import('../scenario.mjs')]).then(async ([{ data }, { report }]) => {
  console.log(JSON.stringify(await report(api, data)));
});
