// Reads a draw.io file on standard input with mxGraph, on which draw.io is built. The
// argument is a folder with node_modules that hold mxgraph and jsdom.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const require = createRequire(process.argv[2] + '/x.js');
const { JSDOM } = require('jsdom');
const dom = new JSDOM('<!DOCTYPE html><body></body>');
for (const name of ['window', 'document', 'XMLSerializer', 'DOMParser', 'Node', 'Element', 'HTMLElement']) {
  globalThis[name] = name === 'window' ? dom.window : dom.window[name];
}
Object.defineProperty(globalThis, 'navigator', { value: dom.window.navigator, configurable: true });
const mx = require('mxgraph')({ mxImageBasePath: '', mxBasePath: '', mxLoadResources: false, mxLoadStylesheets: false });
for (const name of Object.keys(mx)) {
  dom.window[name] = globalThis[name] = mx[name]; // the codec looks classes up there
}
const file = new dom.window.DOMParser().parseFromString(readFileSync(0, 'utf8'), 'text/xml');
const model = new mx.mxGraphModel();
new mx.mxCodec(file).decode(file.getElementsByTagName('mxGraphModel')[0], model);
let nodes = 0, arrows = 0, layers = 0;
for (const cell of Object.values(model.cells)) {
  if (cell.vertex) nodes++;
  if (cell.edge && cell.source && cell.target) arrows++;
  if (cell.parent && cell.parent.id === '0') layers++;
}
console.log(JSON.stringify({ nodes, arrows, layers }));
