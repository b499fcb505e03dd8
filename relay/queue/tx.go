package queue

import (
	"context"
	"database/sql"
	"errors"
)

func (w *writer) exec(query string) error {
	stmt, err := w.prepare(query)
	if err != nil {
		return err
	}
	_, err = stmt.Exec()
	return err
}

// prepare keeps every statement it has seen; their texts are constants of this
// package, so there are few.
func (w *writer) prepare(query string) (*sql.Stmt, error) {
	if stmt, ok := w.stmts[query]; ok {
		return stmt, nil
	}
	stmt, err := w.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	w.stmts[query] = stmt
	return stmt, nil
}

// tx is the transaction an op is applied in. Its statements do not carry the
// op's context: one that has begun is finished, for the others in its group.
type tx struct{ w *writer }

func (t *tx) exec(query string, args ...any) (sql.Result, error) {
	stmt, err := t.w.prepare(query)
	if err != nil {
		return nil, err
	}
	return stmt.Exec(args...)
}

// change is exec that returns how many rows it changed.
func (t *tx) change(query string, args ...any) (int64, error) {
	row, err := t.exec(query, args...)
	if err != nil {
		return 0, err
	}
	return row.RowsAffected()
}

func (t *tx) query(query string, args ...any) (*sql.Rows, error) {
	stmt, err := t.w.prepare(query)
	if err != nil {
		return nil, err
	}
	return stmt.Query(args...)
}

// get reads one row into dest; sql.ErrNoRows when there is none.
func (t *tx) get(query string, args []any, dest ...any) error {
	stmt, err := t.w.prepare(query)
	if err != nil {
		return err
	}
	return stmt.QueryRow(args...).Scan(dest...)
}

func (w *writer) closeConn() error {
	var errs []error
	for _, stmt := range w.stmts {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, w.conn.Close())...)
}
