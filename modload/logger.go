package modload

// A Logger is told what happens, attributes as keys and values behind the message. A *slog.Logger is one.
//
// It is an interface because log/slog links encoding/json, whether or not anybody logs JSON: half a megabyte that kudev's own
// program goes without.
type Logger interface {
	Debug(message string, args ...any)
	Info(message string, args ...any)
	Warn(message string, args ...any)
	Error(message string, args ...any)
}

// silent is the Logger of whoever gave none.
type silent struct{}

func (silent) Debug(string, ...any) {}
func (silent) Info(string, ...any)  {}
func (silent) Warn(string, ...any)  {}
func (silent) Error(string, ...any) {}

// A Level is how much a message matters. The numbers are log/slog's, with syslog's notice between.
type Level int

const (
	LevelDebug  Level = -4
	LevelInfo   Level = 0
	LevelNotice Level = 2
	LevelWarn   Level = 4
	LevelError  Level = 8
)
