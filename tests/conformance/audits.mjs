// The audits of graphql-http: GraphQL over HTTP, rule by rule.
// Needs in the folder of the clients: npm i --no-save graphql-http@1
import { serverAudits } from 'graphql-http';
import { url, authedFetch, Suite, assert } from './_common.mjs';

const s = new Suite('graphql-http');
for (const audit of serverAudits({ url, fetchFn: authedFetch }))
  await s.check(audit.name.split(' ')[0], `${audit.id} ${audit.name}`, async () => { const found = await audit.fn(); assert(found.status === 'ok', found.reason); });
s.finish();
