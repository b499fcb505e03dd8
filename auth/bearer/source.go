package bearer

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// source is where the keys of an issuer come from.
type source struct {
	*fetcher
	issuer string
	url    string // of the keys; "": as the discovery document says
}

// keys fetches them, and tells how long they may be used.
func (s source) keys(ctx context.Context) ([]key, time.Duration, error) {
	url := s.url
	if url == "" {
		var err error
		if url, err = s.discover(ctx); err != nil {
			return nil, 0, fmt.Errorf("discovery: %w", err)
		}
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	header, err := s.get(ctx, url, &set)
	if err != nil {
		return nil, 0, fmt.Errorf("keys: %w", err)
	}
	keys := readKeys(set.Keys)
	if len(keys) == 0 {
		return nil, 0, fmt.Errorf("keys: %s has none that can verify a token", url)
	}
	return keys, lifeOf(header.Get("Cache-Control")), nil
}

// discover asks where the keys are (OpenID Connect Discovery 1.0, section 4).
func (s source) discover(ctx context.Context) (string, error) {
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	url := discoveryURL(s.issuer)
	if _, err := s.get(ctx, url, &document); err != nil {
		return "", err
	}
	switch {
	case document.Issuer != s.issuer:
		return "", fmt.Errorf("%s is about the issuer %q, the configuration has %q; they must be the same to the letter", url, document.Issuer, s.issuer)
	case document.JWKSURI == "":
		return "", fmt.Errorf("%s has no jwks_uri; set jwks_url", url)
	}
	return document.JWKSURI, nil
}

// lifeOf reads how long keys may be used from Cache-Control (RFC 9111, section
// 5.2.2).
func lifeOf(cacheControl string) time.Duration {
	for directive := range strings.SplitSeq(strings.ToLower(cacheControl), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch name {
		case "no-store", "no-cache":
			return leastLife
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err == nil {
				return min(max(time.Duration(seconds)*time.Second, leastLife), mostLife)
			}
		}
	}
	return usualLife
}
