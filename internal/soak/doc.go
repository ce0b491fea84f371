// Package soak holds a soak test and nothing else: clients with the recommended stack read for a while from servers on loopback that
// rotate, deny, lease and fail, and every answer is checked by rules that use none of the library's code.
//
//	go test ./internal/soak                                           # 2 seconds
//	SOAK=30m go test -race -v -timeout 0 -run TestSoak ./internal/soak
//	SOAK_SEED=7 go test -v ./internal/soak                            # the same rotations and faults again
package soak
