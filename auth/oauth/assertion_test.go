package oauth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"postern/auth/oauth"
	"postern/relay/setting"
)

// writePair makes a certificate for key, and returns both files and the
// certificate.
func writePair(t *testing.T, key crypto.Signer, until time.Time) (certificate, private string, der []byte) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, private = filepath.Join(t.TempDir(), "app.crt"), filepath.Join(t.TempDir(), "app.key")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, private: {Type: "PRIVATE KEY", Bytes: pkcs8(t, key)}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, private, der
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func newKeys(t *testing.T) (*rsa.PrivateKey, *ecdsa.PrivateKey) {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return r, e
}

// verified is a JWT whose signature is right.
func verified(t *testing.T, text string, algorithm jose.SignatureAlgorithm, key any) (header jose.Header, claims map[string]any) {
	t.Helper()
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{algorithm})
	if err != nil {
		t.Fatal(err)
	}
	if err := token.Claims(key, &claims); err != nil {
		t.Fatal(err)
	}
	return token.Headers[0], claims
}

func TestACertificateTakesThePlaceOfASecret(t *testing.T) {
	rsaKey, ecdsaKey := newKeys(t)
	for algorithm, key := range map[jose.SignatureAlgorithm]crypto.Signer{jose.PS256: rsaKey, jose.ES256: ecdsaKey} {
		p := newProvider(t, counting("3600"))
		c := p.app()
		var der []byte
		c.ClientSecret, c.ClientAuth = setting.Secret{}, ""
		c.Certificate, c.Key, der = writePair(t, key, time.Now().Add(time.Hour))
		r := newRoom(t, c)
		r.mustToken("access-1")
		r.Tokens()["m365"].Reject("access-1")
		r.mustToken("access-2")
		var ids []any
		for _, form := range p.requests() {
			if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || form.Has("client_secret") {
				t.Errorf("the request was %v", form)
			}
			header, claims := verified(t, form.Get("client_assertion"), algorithm, key.Public())
			sum := sha256.Sum256(der)
			if header.ExtraHeaders["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum[:]) {
				t.Errorf("the header is %v", header)
			}
			if claims["iss"] != "postern" || claims["sub"] != "postern" || claims["aud"] != p.url+"/token" {
				t.Errorf("the claims are %v", claims)
			}
			if life := claims["exp"].(float64) - claims["nbf"].(float64); life <= 0 || life > 600 {
				t.Errorf("it is good for %v seconds", life)
			}
			ids = append(ids, claims["jti"])
		}
		if ids[0] == ids[1] || ids[0] == "" {
			t.Errorf("the ids are %v", ids)
		}
		if s := r.status(); s.SecretExpires.IsZero() {
			t.Error("the status does not say when the certificate expires")
		}
	}
}

// googleKey is a key file.
func googleKey(t *testing.T, key any) string {
	t.Helper()
	b, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "relay@project.iam.gserviceaccount.com", "private_key_id": "k1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8(t, key)}))})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAServiceAccountActsForTheMailbox(t *testing.T) {
	key, wrong := newKeys(t)
	for subject, want := range map[string]string{"": "relay@example.com", "other@example.com": "other@example.com"} {
		p := newProvider(t, counting("3600"))
		c := oauth.Config{Flow: oauth.ServiceAccount, ServiceAccount: setting.Plain(googleKey(t, key)), Subject: subject, TokenURL: p.url + "/token", Scopes: []string{"https://mail.google.com/"}}
		newRoom(t, c).mustToken("access-1")
		form := p.requests()[0]
		header, claims := verified(t, form.Get("assertion"), jose.RS256, key.Public())
		if form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || header.KeyID != "k1" || form.Has("client_id") {
			t.Errorf("the request was %v, %v", form, header)
		}
		if claims["iss"] != "relay@project.iam.gserviceaccount.com" || claims["sub"] != want || claims["scope"] != "https://mail.google.com/" || claims["aud"] != p.url+"/token" {
			t.Errorf("the claims are %v", claims)
		}
	}
	for text, want := range map[string]string{
		"/etc/postern/google.json":   "write where that is",
		`{"type":"authorized_user"}`: "not the key of a service account",
		`{"type":"service_account","client_email":"a","private_key":"canary"}`: "not in PEM form",
		googleKey(t, wrong): "cannot be read",
	} {
		c := oauth.Config{Flow: oauth.ServiceAccount, ServiceAccount: setting.Plain(text), Subject: "a@example.com", TokenURL: "https://oauth2.googleapis.com/token", Scopes: []string{"s"}}
		if got := problems(c); len(got) != 1 || !strings.Contains(got[0], want) || strings.Contains(got[0], "canary") {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
