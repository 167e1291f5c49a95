// Reads a Mermaid diagram on standard input with Mermaid's own parser. The argument is a
// folder with node_modules that hold mermaid and jsdom.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { readFileSync } from 'node:fs';

const require = createRequire(process.argv[2] + '/x.js');
const { JSDOM } = require('jsdom');
const dom = new JSDOM('<!DOCTYPE html><body></body>');
globalThis.window = dom.window;
globalThis.document = dom.window.document;
const mermaid = (await import(pathToFileURL(process.argv[2] + '/node_modules/mermaid/dist/mermaid.core.mjs'))).default;
mermaid.initialize({ startOnLoad: false });
const text = readFileSync(0, 'utf8');
const diagram = await mermaid.mermaidAPI.getDiagramFromText(text);
const { vertices, edges } = { vertices: diagram.db.getVertices(), edges: diagram.db.getEdges() };
console.log(JSON.stringify({ nodes: vertices.size ?? Object.keys(vertices).length, arrows: edges.length }));
