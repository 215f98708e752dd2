// Relay 21 against the endpoint, compiler and runtime: a query, a connection paged with @connection, an object refetched
// through node, a mutation that updates the store, a subscription over graphql-ws, documents by persisted ids.
// Needs in the folder of the clients: npm i --no-save relay-runtime@21 relay-compiler@21
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createClient } from 'graphql-ws';
import relay from 'relay-runtime';
import WebSocket from 'ws';
import { url, wsUrl, auth, headers, ops, Suite, assert } from './_common.mjs';

const { ConnectionHandler, Environment, Network, Observable, RecordSource, Store } = relay;
const s = new Suite('relay');
const seen = [];

const DOCUMENTS = `
import { graphql } from 'relay-runtime';
graphql\`query relayGuestQuery($externalId: String!) { pass(externalId: $externalId) { id ...relayGuest_pass } }\`;
graphql\`fragment relayGuest_pass on Pass @refetchable(queryName: "relayGuestRefetchQuery") {
  id externalId updatedAt holder { name } statistics { eventCount } }\`;
graphql\`query relayListQuery($first: Int!) { ...relayList_query @arguments(first: $first) }\`;
graphql\`fragment relayList_query on Query
  @argumentDefinitions(first: { type: "Int!" }, after: { type: "String" })
  @refetchable(queryName: "relayListPageQuery") {
  passes(first: $first, after: $after) @connection(key: "relayList_passes") { edges { node { id externalId } } } }\`;
graphql\`mutation relayRenameMutation($input: UpdatePassInput!) {
  updatePass(input: $input) { pass { id holder { name } } userErrors { code field } } }\`;
graphql\`subscription relayFollowSubscription($after: String, $first: Int) { activity(after: $after, first: $first) {
  __typename ... on ActivityEdge { cursor node { id type pass { id externalId } } } ... on Heartbeat { cursor } } }\`;
`;

const folder = join(process.cwd(), 'relay-project');
let generated;
await s.check('COMPILER', 'every document compiles against schema.graphql, and is kept under an id', async () => {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'src/__generated__'), { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "type": "commonjs" }');
  writeFileSync(join(folder, 'src/relay.js'), DOCUMENTS);
  writeFileSync(join(folder, 'schema.graphql'), readFileSync(process.env.SCHEMA));
  const config = { src: './src', schema: './schema.graphql', language: 'javascript', artifactDirectory: './src/__generated__', eagerEsModules: false, persistConfig: { file: './documents.json', algorithm: 'SHA256' } };
  writeFileSync(join(folder, 'relay.config.json'), JSON.stringify(config));
  writeFileSync(join(folder, 'documents.json'), '{}');
  execFileSync(process.execPath, [join(process.cwd(), 'node_modules/relay-compiler/cli.js'), 'relay.config.json'], { cwd: folder, stdio: 'pipe' });
  const require = createRequire(join(folder, 'src/relay.js'));
  generated = (name) => require(`./__generated__/${name}.graphql.js`);
}, 30000);
const documents = JSON.parse(readFileSync(join(folder, 'documents.json')));

const post = async (body) => {
  const response = await fetch(url, { method: 'POST', headers: { ...headers, 'content-type': 'application/json', accept: 'application/graphql-response+json' }, body: JSON.stringify(body) });
  seen.push(body);
  return response.json();
};
// In production a front end sends only the id that the compiler gave. The server of this test has no manifest, so the text goes along.
const request = ({ id, text, name }, variables) => ({ query: text ?? documents[id], operationName: name, variables });
const client = createClient({ url: wsUrl, webSocketImpl: class extends WebSocket { constructor(u, p) { super(u, p, { headers }); } }, connectionParams: auth ? { authorization: auth } : undefined });
const network = Network.create(
  (operation, variables) => post(request(operation, variables)),
  (operation, variables) => Observable.create((sink) => client.subscribe(request(operation, variables), sink)),
);
const environment = new Environment({ network, store: new Store(new RecordSource()) });
const fetched = (name, variables, fresh = false) => relay.fetchQuery(environment, generated(name), variables, { fetchPolicy: fresh ? 'network-only' : 'store-or-network' }).toPromise();
const looked = (query, variables, fragment) => {
  const descriptor = relay.createOperationDescriptor(relay.getRequest(generated(query)), variables);
  environment.retain(descriptor);
  const data = environment.lookup(descriptor.fragment).data;
  if (!fragment) return data;
  const [node, at] = fragment;
  const owner = at ? data[at] : data;
  return environment.lookup(relay.getSingularSelector(generated(node), owner)).data;
};

const guest = { externalId: ops.queryVariables.n };
await s.check('RUNTIME', 'a query, its fragment read from the store, and not asked again', async () => {
  await fetched('relayGuestQuery', guest);
  const read = looked('relayGuestQuery', guest, ['relayGuest_pass', 'pass']);
  assert(read.externalId === guest.externalId && read.statistics.eventCount >= 1, JSON.stringify(read));
  const before = seen.length;
  await fetched('relayGuestQuery', guest);
  assert(seen.length === before, 'asked again');
});
await s.check('RUNTIME', 'a connection is paged and merged in the store', async () => {
  await fetched('relayListQuery', { first: 3 });
  const first = looked('relayListQuery', { first: 3 }, ['relayList_query']).passes;
  assert(first.edges.length === 3 && first.pageInfo.hasNextPage, JSON.stringify(first));
  await fetched('relayListPageQuery', { first: 3, after: first.pageInfo.endCursor }, true);
  const both = looked('relayListQuery', { first: 3 }, ['relayList_query']).passes;
  const names = new Set(both.edges.map((edge) => edge.node.externalId));
  assert(both.edges.length === 6 && names.size === 6, JSON.stringify(both));
  environment.commitUpdate((store) => assert(ConnectionHandler.getConnection(store.getRoot(), 'relayList_passes').getLinkedRecords('edges').length === 6));
});
await s.check('RUNTIME', 'an object is refetched through node', async () => {
  const { id } = looked('relayGuestQuery', guest).pass;
  await fetched('relayGuestRefetchQuery', { id }, true);
  const sent = seen.at(-1);
  assert(/node\(id: \$id\)/.test(sent.query), sent.query);
  assert(looked('relayGuestRefetchQuery', { id }, ['relayGuest_pass', 'node']).externalId === guest.externalId);
});
await s.check('RUNTIME', 'a mutation updates what the store has of the object', async () => {
  const { id } = looked('relayGuestQuery', guest).pass;
  const name = `Guest ${Date.now()}`;
  const answer = await new Promise((ok, no) => relay.commitMutation(environment, { mutation: generated('relayRenameMutation'), variables: { input: { id, holder: { name } } }, onCompleted: (data, errors) => (errors ? no(new Error(JSON.stringify(errors))) : ok(data)), onError: no }));
  assert(answer.updatePass.userErrors.length === 0, JSON.stringify(answer));
  assert(looked('relayGuestQuery', guest, ['relayGuest_pass', 'pass']).holder.name === name);
});
await s.check('RUNTIME', 'a subscription over graphql-ws, to its end, into the store', async () => {
  const after = ops.finiteSubscription.match(/after: "([^"]+)"/)[1];
  const told = [];
  await new Promise((ok, no) => relay.requestSubscription(environment, { subscription: generated('relayFollowSubscription'), variables: { after, first: ops.finiteCount }, onNext: (data) => told.push(data.activity), onCompleted: ok, onError: no }));
  assert(told.length === ops.finiteCount && told.at(-1).__typename === 'ActivityEdge', JSON.stringify(told));
  assert(environment.getStore().getSource().get(told.at(-1).node.id), 'the node is not in the store');
});
await s.check('RUNTIME', 'an error of validation reaches the caller as one', async () => {
  const broken = { ...generated('relayGuestQuery'), params: { ...generated('relayGuestQuery').params, id: null, cacheID: 'broken', text: 'query relayGuestQuery { nope }' } };
  const error = await relay.fetchQuery(environment, broken, { externalId: 'nobody' }, { fetchPolicy: 'network-only' }).toPromise().then(() => null, (e) => e);
  assert(error, 'nothing was thrown');
});
await client.dispose();
s.finish({ mustLevel: 'RUNTIME' });
