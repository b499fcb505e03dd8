package graph

import (
	"encoding/json"
	"testing"

	"postern/relay/upstream/webapi"
)

// checkDocument holds a draft to be JSON with so many attachments.
func checkDocument(t *testing.T, made []byte, files int) {
	t.Helper()
	var v struct {
		Body        struct{ Content string }
		Attachments []struct{ ContentBytes []byte }
	}
	if err := json.Unmarshal(made, &v); err != nil || len(v.Attachments) != files {
		t.Fatalf("%q: %v", made, err)
	}
}

func answer(body []byte) webapi.Answer { return webapi.Answer{Status: 200, Body: body} }
