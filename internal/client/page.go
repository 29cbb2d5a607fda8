package client

import (
	"context"
	"errors"
	"iter"
	"net/http"
)

// pages reads a list, asking for the next page when the last row of one was taken.
func pages[T any](ctx context.Context, c *Client, r Range, path ...string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for next := r.header(); ; {
			var rows []T
			h := http.Header{}
			if next != "" {
				h.Set("Range", next)
			}
			status, header, err := c.do(ctx, call{method: http.MethodGet, path: path, header: h, out: &rows})
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
			from := header.Get("Next-Range")
			if status != http.StatusPartialContent || from == "" {
				return
			}
			if from == next || len(rows) == 0 {
				var none T
				yield(none, errors.New("the service sends the same page of a list again and again"))
				return
			}
			next = from
		}
	}
}

// Collect takes up to most rows of a list, or all of them where most is 0.
func Collect[T any](list iter.Seq2[T, error], most int) ([]T, error) {
	out := []T{}
	for row, err := range list {
		if err != nil {
			return nil, err
		}
		if out = append(out, row); len(out) == most {
			break
		}
	}
	return out, nil
}
