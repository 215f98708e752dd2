// This page runs GraphiQL against the server that served it. The address may end with "#key=<API key>": browsers do not
// send this part of an address to the server.
"use strict";

const given = new URLSearchParams(location.hash.slice(1)).get("key");
if (given) {
  history.replaceState(null, "", location.pathname + location.search);
}

const subscriptionUrl = new URL("/graphql", location.href);
subscriptionUrl.protocol = location.protocol === "https:" ? "wss:" : "ws:";

const welcome = `# Enter your API key in the Headers tab below: {"Authorization": "Bearer <key>"}
# Then run this query. The book icon on the left opens the schema with all descriptions.

query Welcome {
  viewer {
    workspace {
      name
      currency
      timezone
    }
  }
  passes(first: 5) {
    totalCount
    nodes {
      externalId
      statistics {
        eventCount
        spend {
          currency
          net
          orders
        }
      }
    }
  }
}
`;

ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, {
    fetcher: GraphiQL.createFetcher({ url: "/graphql", subscriptionUrl: subscriptionUrl.href }),
    defaultQuery: welcome,
    headers: given ? JSON.stringify({ Authorization: `Bearer ${given}` }, null, 2) : undefined,
    defaultHeaders: '{\n  "Authorization": "Bearer "\n}',
    defaultEditorToolsVisibility: "headers",
    shouldPersistHeaders: false,
    isHeadersEditorEnabled: true,
  }),
);
