package cli

import (
	"fmt"
	"io"
	"strconv"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger returns a logger that writes one JSON object a line. level is info, debug, error, or a number: the highest
// verbosity that is shown (0 is info, 1 is debug).
func newLogger(w io.Writer, level string) (logr.Logger, error) {
	var at zapcore.Level
	switch level {
	case "error":
		at = zapcore.ErrorLevel
	case "info":
		at = zapcore.InfoLevel
	case "debug":
		at = zapcore.DebugLevel
	default:
		n, err := strconv.ParseInt(level, 10, 8)
		if err != nil || n < 0 {
			return logr.Discard(), fmt.Errorf("log level %q: must be error, info, debug or a number from 0 to 127", level)
		}
		at = zapcore.Level(-n)
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoding.EncodeLevel = lowercaseLevel
	core := zapcore.NewCore(zapcore.NewJSONEncoder(encoding), zapcore.Lock(zapcore.AddSync(w)), at)
	return zapr.NewLogger(zap.New(withoutProbes{core})), nil
}

// withoutProbes drops what controller-runtime says at each failed probe: that one failed, not which or why. The server says
// so itself, when that changes.
type withoutProbes struct{ zapcore.Core }

func (c withoutProbes) With(fields []zapcore.Field) zapcore.Core {
	return withoutProbes{c.Core.With(fields)}
}

func (c withoutProbes) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.LoggerName == "controller-runtime.healthz" && e.Level == zapcore.InfoLevel {
		return ce
	}
	return c.Core.Check(e, ce)
}

// lowercaseLevel calls every verbosity beyond debug debug: zap knows no more names.
func lowercaseLevel(l zapcore.Level, out zapcore.PrimitiveArrayEncoder) {
	zapcore.LowercaseLevelEncoder(max(l, zapcore.DebugLevel), out)
}
