// Mounts GraphiQL against this server. A key may come after "#key=", a part of the address that browsers never send.
"use strict";

const given = new URLSearchParams(location.hash.slice(1)).get("key");
if (given) {
  history.replaceState(null, "", location.pathname + location.search);
}

const subscriptionUrl = new URL("/graphql", location.href);
subscriptionUrl.protocol = location.protocol === "https:" ? "wss:" : "ws:";

const welcome = `# Put your API key into the Headers tab below: {"Authorization": "Bearer <key>"}
# The schema with all its explanations is behind the book on the left.

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
