// An authorization server for the tests: server.mjs PORT JWKS
//
// Clients get tokens by the client credentials grant. For the resource
// api://postern they are JWTs (RFC 9068), for urn:opaque:postern they must be
// introspected. Those of the client "brief" live four seconds.
import { webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';

// Debian 12 has Node 18, which has all that is needed but these.
globalThis.crypto ??= webcrypto;
URL.parse ??= (url, base) => {
  try { return new URL(url, base); } catch { return null; }
};
const { default: Provider } = await import('oidc-provider');

const [port, jwks] = process.argv.slice(2);
const client = (client_id, client_secret) => ({
  client_id, client_secret, grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
});

const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: JSON.parse(readFileSync(jwks)),
  clients: [client('erp', 'erp-secret'), client('brief', 'brief-secret'), client('postern', 'canary-introspection-61c8')],
  features: {
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (ctx, resource, by) => ({
        audience: resource,
        scope: 'smtp.send other',
        accessTokenFormat: resource.startsWith('urn:opaque:') ? 'opaque' : 'jwt',
        accessTokenTTL: by.clientId === 'brief' ? 4 : 3600,
      }),
    },
  },
});
provider.listen(Number(port), '127.0.0.1');
