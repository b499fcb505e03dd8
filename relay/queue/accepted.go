package queue

import (
	"context"
	"time"
)

// acceptances walks the messages from the latest, without those of our own. Rows are numbered in the order
// of their commits, and so nearly by time.
const acceptances = `
	SELECT m.account, CASE WHEN json_valid(m.client) THEN coalesce(m.client ->> '$.User', '') ELSE '' END, h.at,
		(SELECT count(*) FROM deliveries d WHERE d.message = m.n)
	FROM messages m JOIN history h ON h.message = m.n AND h.n = 0
	WHERE m.about = ''
	ORDER BY m.n DESC`

// disorder is how much earlier than its neighbours in the order of commits a
// message may have been accepted: longer than a commit ever takes.
const disorder = time.Hour

// Accepted implements Reader.
func (r *reader) Accepted(ctx context.Context, since time.Time, each func(account, user string, at time.Time, recipients int)) error {
	rows, err := r.db.QueryContext(ctx, acceptances)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var account, user string
		var at int64
		var recipients int
		if err := rows.Scan(&account, &user, &at, &recipients); err != nil {
			return err
		}
		switch accepted := fromMillis(at); {
		case accepted.Before(since.Add(-disorder)):
			return nil
		case !accepted.Before(since):
			each(account, user, accepted, recipients)
		}
	}
	return rows.Err()
}
