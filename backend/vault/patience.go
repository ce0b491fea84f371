package vault

import "context"

// turn is for what one at a time may do, and what nobody waits for longer than a context lasts. It has room for one.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// take waits for the turn. Who has taken it gives it back.
func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) giveBack() { <-t }

// patiently runs look, which may hang as the reading of a file on a network does, whatever its context says. If it does, callers leave with
// their contexts, and none looks beside it. then runs after look, outside of the turn, also if nobody waits any more.
func patiently[T any](ctx context.Context, t turn, look func() T, then func(T)) (result T, err error) {
	if err := t.take(ctx); err != nil {
		return result, err
	}
	seen := make(chan T, 1)
	go func() {
		result := look()
		t.giveBack()
		then(result)
		seen <- result
	}()
	select {
	case result := <-seen:
		return result, nil
	case <-ctx.Done():
		return result, ctx.Err()
	}
}
