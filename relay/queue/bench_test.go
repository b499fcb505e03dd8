package queue_test

import (
	"testing"

	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/queue/queuetest"
)

// producers is how many put and settle at once, on two processors.
const producers = 32

func parallel(b *testing.B, run func(s *queue.SQLite, m *message.Message) error) {
	s := openIn(b, b.TempDir(), queuetest.Config())
	content := message.Bytes(queuetest.Octets(4096))
	b.SetParallelism(producers / 2)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m := queuetest.NewMessage("printer", 0, "a@example.com")
			m.Body = content
			if err := run(s, m); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

func BenchmarkPut(b *testing.B) {
	parallel(b, func(s *queue.SQLite, m *message.Message) error {
		_, err := queuetest.Put(b.Context(), s, m, "office", "")
		return err
	})
}

// BenchmarkLifecycleFromMemory puts, claims in the same transaction, settles.
func BenchmarkLifecycleFromMemory(b *testing.B) {
	parallel(b, func(s *queue.SQLite, m *message.Message) error {
		c, err := queuetest.Put(b.Context(), s, m, "office", "m365")
		if err != nil {
			return err
		}
		_, err = s.Settle(b.Context(), c, deliveredOne, nil)
		return err
	})
}

// BenchmarkLifecycle puts, claims from the store, settles.
func BenchmarkLifecycle(b *testing.B) {
	parallel(b, func(s *queue.SQLite, m *message.Message) error {
		if _, err := queuetest.Put(b.Context(), s, m, "office", ""); err != nil {
			return err
		}
		claims, err := s.Claim(b.Context(), "office", "m365", 1, 0)
		if err != nil || len(claims) == 0 {
			return err
		}
		_, err = s.Settle(b.Context(), claims[0], deliveredOne, nil)
		return err
	})
}

// BenchmarkClaimDeep claims and returns while 100,000 messages of 100 accounts
// wait.
func BenchmarkClaimDeep(b *testing.B) {
	s := openIn(b, b.TempDir(), queuetest.Config())
	if err := s.Exec(`WITH RECURSIVE i (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 100000)
		INSERT INTO deliveries SELECT n + 1000, 0, 'a@example.com', '{}', 'account' || n % 100, 'office', 'deferred', '', '', 1, 9e15, '{}', '' FROM i`); err != nil {
		b.Fatal(err)
	}
	if _, err := queuetest.Put(b.Context(), s, queuetest.NewMessage("printer", 4096, "a@example.com"), "office", ""); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		claims, err := s.Claim(b.Context(), "office", "m365", 1, 0)
		if err != nil || len(claims) != 1 {
			b.Fatal(claims, err)
		}
		if err := s.Return(b.Context(), claims[0], ""); err != nil {
			b.Fatal(err)
		}
	}
}
