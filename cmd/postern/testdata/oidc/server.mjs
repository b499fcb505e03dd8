// An authorization server for the tests: server.mjs PORT JWKS [CERTIFICATE]
//
// Clients get tokens by the client credentials grant. For the resource
// api://postern they are JWTs (RFC 9068), for urn:opaque:postern they must be
// introspected. Those of the client "brief" live four seconds. "signer" proves
// itself with the key of CERTIFICATE.
//
// The clients "device" and "browser" have a person agree, who agrees to everything
// at once. Their refresh tokens are good for one use; a second one ends the
// consent.
import { webcrypto, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';

// Debian 12 has Node 18, which has all that is needed but these.
globalThis.crypto ??= webcrypto;
URL.parse ??= (url, base) => {
  try { return new URL(url, base); } catch { return null; }
};
const { default: Provider } = await import('oidc-provider');

const [port, jwks, certificate] = process.argv.slice(2);
const client = (client_id, client_secret) => ({
  client_id, client_secret, grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
});

const person = (client_id, grant, more) => ({
  client_id, token_endpoint_auth_method: 'none', application_type: 'native', grant_types: [grant, 'refresh_token'],
  redirect_uris: [], response_types: [], ...more,
});
const clients = [client('erp', 'erp-secret'), client('brief', 'brief-secret'), client('postern', 'canary-introspection-61c8'),
  person('device', 'urn:ietf:params:oauth:grant-type:device_code'),
  person('browser', 'authorization_code', { redirect_uris: ['http://127.0.0.1'], response_types: ['code'] })];
if (certificate) {
  const key = new X509Certificate(readFileSync(certificate)).publicKey.export({ format: 'jwk' });
  clients.push({ ...client('signer'), token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [key] } });
}

const page = (title) => (ctx, form = '') => { ctx.body = `<!DOCTYPE html><title>${title}</title>${form}`; };

const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: JSON.parse(readFileSync(jwks)),
  clients,
  rotateRefreshToken: true,
  issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addResourceScope('api://postern', 'smtp.send');
    await grant.save();
    return grant;
  },
  features: {
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    devInteractions: { enabled: false },
    deviceFlow: {
      enabled: true, userCodeInputSource: page('enter the code'), userCodeConfirmSource: page('confirm'), successSource: page('agreed'),
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: (ctx, client, one) => one ?? 'api://postern',
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource, by) => ({
        audience: resource,
        scope: 'smtp.send other',
        accessTokenFormat: resource.startsWith('urn:opaque:') ? 'opaque' : 'jwt',
        accessTokenTTL: by.clientId === 'brief' ? 4 : 3600,
      }),
    },
  },
});
provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/interaction/')) return next();
  return provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: 'relay@example.com' }, consent: {} });
});
provider.listen(Number(port), '127.0.0.1');
