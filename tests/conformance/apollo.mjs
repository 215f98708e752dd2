// Apollo Client 4 against the endpoint: queries, mutations, errors, automatic persisted queries (also by GET), batches,
// subscriptions over multipart HTTP and over graphql-ws, a paged connection in the cache, @defer.
// Needs in the folder of the clients: npm i --no-save @apollo/client@4 rxjs
import { createHash } from 'node:crypto';
import { ApolloClient, ApolloLink, CombinedGraphQLErrors, HttpLink, InMemoryCache, gql } from '@apollo/client';
import { BatchHttpLink } from '@apollo/client/link/batch-http';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { GraphQL17Alpha9Handler } from '@apollo/client/incremental';
import { relayStylePagination } from '@apollo/client/utilities';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { url, wsUrl, auth, headers, ops, Suite, assert } from './_common.mjs';

const s = new Suite('apollo');
const seen = [];
const spy = async (u, init) => { seen.push({ url: String(u), ...init }); return fetch(u, init); };
const http = (options = {}) => new HttpLink({ uri: url, headers, fetch: spy, ...options });
const client = (link = http(), cache = new InMemoryCache()) => new ApolloClient({ link, cache });
// Apollo answers a query for { __typename } alone without a request, so this query reads a connection.
const small = `{ ${ops.connection.field}(first: 1) { pageInfo { hasNextPage } } }`;
const sha256 = (text) => createHash('sha256').update(text).digest('hex');
const collect = (observable) => new Promise((ok, no) => { const out = []; observable.subscribe({ next: (r) => (r.error ? no(r.error) : out.push(r.data)), error: no, complete: () => ok(out) }); });

await s.check('CORE', 'query with variables', async () => { const r = await client().query({ query: gql(ops.queryField), variables: ops.queryVariables }); assert(r.data && !r.error); });
await s.check('CORE', 'mutation', async () => { const r = await client().mutate({ mutation: gql(ops.mutation) }); assert(r.data && !r.error); });
await s.check('CORE', 'a validation error is a GraphQL error, not a network error', async () => { const r = await client().query({ query: gql`{ nope }`, errorPolicy: 'all' }); assert(CombinedGraphQLErrors.is(r.error), String(r.error)); });
await s.check('CORE', 'relayStylePagination merges two pages', async () => {
  const c = client(http(), new InMemoryCache({ typePolicies: { Query: { fields: { [ops.connection.field]: relayStylePagination() } } } }));
  const q = c.watchQuery({ query: gql(ops.connection.query), variables: { first: 3 } });
  q.subscribe(() => {});
  const first = await c.query({ query: gql(ops.connection.query), variables: { first: 3 } }); const info = first.data[ops.connection.field].pageInfo;
  await q.fetchMore({ variables: { first: 3, after: info.endCursor } });
  const all = c.readQuery({ query: gql(ops.connection.query), variables: { first: 3 } });
  assert(all[ops.connection.field].edges.length === 6, JSON.stringify(all).slice(0, 200));
});
for (const get of [false, true])
  await s.check('APQ', `automatic persisted queries${get ? ' by GET' : ''}: miss, register, hit`, async () => {
    const query = gql(`query P${get ? 'Get' : 'Post'}${Date.now()} ${small}`);
    const link = () => ApolloLink.from([new PersistedQueryLink({ sha256, useGETForHashedQueries: get }), http()]);
    let before = seen.length; assert((await client(link()).query({ query })).data); assert(seen.length - before === 2, `${seen.length - before} requests`);
    before = seen.length; assert((await client(link()).query({ query })).data); assert(seen.length - before === 1, `${seen.length - before} requests`);
    assert(!get || seen.at(-1).method === 'GET');
  });
await s.check('BATCH', 'BatchHttpLink sends three queries as one request', async () => {
  const before = seen.length; const c = client(new BatchHttpLink({ uri: url, headers, fetch: spy, batchInterval: 10 }));
  const rs = await Promise.all([1, 2, 3].map((n) => c.query({ query: gql(`query B${n} ${small}`) })));
  assert(rs.every((r) => r.data) && seen.length - before === 1, `${seen.length - before} requests`);
});
await s.check('MULTIPART', 'subscription over multipart HTTP', async () => { const r = await collect(client().subscribe({ query: gql(ops.finiteSubscription) })); assert(r.length === ops.finiteCount, `got ${r.length}`); });
await s.check('WS', 'subscription over graphql-ws', async () => {
  const ws = createClient({ url: wsUrl, webSocketImpl: class extends WebSocket { constructor(u, p) { super(u, p, { headers }); } }, connectionParams: auth ? { authorization: auth } : undefined });
  const r = await collect(client(new GraphQLWsLink(ws)).subscribe({ query: gql(ops.finiteSubscription) })); assert(r.length === ops.finiteCount, `got ${r.length}`); await ws.dispose();
});
await s.check('DEFER', '@defer in the format of GraphQL.js 17', async () => {
  const c = new ApolloClient({ link: http(), cache: new InMemoryCache(), incrementalHandler: new GraphQL17Alpha9Handler() });
  const f = ops.connection.field; const told = [];
  await new Promise((ok, no) => c.watchQuery({ query: gql(`query D { ${f}(first: 1) { edges { cursor } ... @defer { pageInfo { hasNextPage } } } }`) }).subscribe({ next: (r) => { if (r.error) no(r.error); told.push(r); if (r.dataState === 'complete') ok(); }, error: no }));
  assert(told.at(-1).data[f].pageInfo && told.some((r) => r.dataState === 'streaming'), JSON.stringify(told));
});
s.finish({ mustLevel: 'CORE' });
