package goldentest_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"testing/slogtest"

	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"
)

// A Handler of slog that a Redactor wraps still passes slogtest.
func TestAWrappedHandlerPassesSlogtest(t *testing.T) {
	zapConfig := zapcore.EncoderConfig{
		TimeKey: slog.TimeKey, MessageKey: slog.MessageKey, LevelKey: slog.LevelKey,
		EncodeTime: zapcore.RFC3339NanoTimeEncoder, EncodeLevel: zapcore.CapitalLevelEncoder,
	}
	for name, c := range map[string]struct {
		handler func(*bytes.Buffer) slog.Handler
		parse   func(line string) (map[string]any, error)
	}{
		"slog text": {func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) }, parseText},
		"slog json": {func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) }, parseJSON},
		"zap": {func(b *bytes.Buffer) slog.Handler {
			return zapslog.NewHandler(zapcore.NewCore(zapcore.NewJSONEncoder(zapConfig), zapcore.AddSync(b), zap.InfoLevel))
		}, parseJSON},
	} {
		for _, wrapped := range []bool{false, true} {
			kind := map[bool]string{false: " by itself", true: " wrapped"}[wrapped]
			t.Run(name+kind, func(t *testing.T) {
				var b bytes.Buffer
				slogtest.Run(t, func(*testing.T) slog.Handler {
					b.Reset()
					if wrapped {
						return knowing().Handler(c.handler(&b))
					}
					return c.handler(&b)
				}, func(t *testing.T) map[string]any {
					record, err := c.parse(b.String())
					if err != nil {
						t.Fatalf("%s: %v", b.String(), err)
					}
					return record
				})
			})
		}
	}
}

func parseJSON(line string) (map[string]any, error) {
	var record map[string]any
	err := json.Unmarshal([]byte(line), &record)
	return record, err
}

// parseText parses a line of a slog.TextHandler without quotes: the dots in a key are groups.
func parseText(line string) (map[string]any, error) {
	record := map[string]any{}
	for field := range strings.FieldsSeq(line) {
		key, value, _ := strings.Cut(field, "=")
		groups := strings.Split(key, ".")
		at := record
		for _, g := range groups[:len(groups)-1] {
			inner, ok := at[g].(map[string]any)
			if !ok {
				inner = map[string]any{}
				at[g] = inner
			}
			at = inner
		}
		at[groups[len(groups)-1]] = value
	}
	return record, nil
}
