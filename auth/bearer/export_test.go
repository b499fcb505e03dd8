package bearer

import (
	"crypto/sha256"
	"time"
)

// SetClock makes v live in another time.
func (v *Verifier) SetClock(now func() time.Time) { v.now = now }

// SetPatience makes v wait shorter for issuers.
func (v *Verifier) SetPatience(d time.Duration) {
	for _, i := range v.issuers {
		if i.keys != nil {
			i.keys.source.patience = d
		} else {
			i.asker.patience = d
		}
	}
}

const MaxAnswers = maxAnswers

// Remember makes the first issuer remember that it was told token is none.
func (v *Verifier) Remember(token string) {
	v.issuers[0].asker.answers.put(sha256.Sum256([]byte(token)), claims{"active": false}, v.now())
}

// Remembered is how many answers the first issuer has given.
func (v *Verifier) Remembered() int { return len(v.issuers[0].asker.answers.all) }
