package awssm

import (
	"context"
	"sync"
)

// maxParallel bounds the concurrent calls of one request.
const maxParallel = 8

// parallel calls f for each of inputs, up to maxParallel at a time, and returns the results in order.
func parallel[I, O any](ctx context.Context, inputs []I, f func(context.Context, I) O) []O {
	outputs := make([]O, len(inputs))
	if len(inputs) == 1 {
		outputs[0] = f(ctx, inputs[0])
		return outputs
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxParallel)
	for i, input := range inputs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			outputs[i] = f(ctx, input)
		})
	}
	wg.Wait()
	return outputs
}
