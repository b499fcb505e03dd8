package preset

import "testing"

// The key is the example of Amazon's documents. The passwords were made of it by
// Amazon's own recipe in Python.
func TestIAMPassword(t *testing.T) {
	for region, want := range map[string]string{
		"eu-west-1": "BMW5RDrXmmVs0lV7GpI4oLkHXpZ4stDsk6q91z1g38Pk",
		"us-east-1": "BLBM/9hSUELfq8Gw+rU1YcBjkOxGbhT2XG763xVLGWL9",
	} {
		if got := IAMPassword("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", region); got != want {
			t.Errorf("%s: got %s, want %s", region, got, want)
		}
	}
}
