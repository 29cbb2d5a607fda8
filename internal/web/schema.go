package web

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// schemas are the JSON schemas of named struct types, by their name in the document.
type schemas map[string]object

// words are the values of types that are one of some words.
func words(t reflect.Type) []any {
	switch t {
	case reflect.TypeFor[build.State]():
		return []any{build.Queued, build.Running, build.Succeeded, build.Failed, build.Cancelled, build.TimedOut}
	case reflect.TypeFor[build.Verb]():
		return []any{build.VerbRead, build.VerbDeploy, build.VerbConfig, build.VerbManage}
	case reflect.TypeFor[build.Disconnect]():
		return []any{build.Continue, build.Abandon}
	case reflect.TypeFor[build.TriggerKind]():
		return []any{build.TriggerPush, build.TriggerAPI, build.TriggerRetry, build.TriggerWebhook, build.TriggerButton}
	case reflect.TypeFor[build.ReleaseState]():
		return []any{build.ReleasePending, build.ReleaseSucceeded, build.ReleaseFailed}
	case reflect.TypeFor[build.DeliveryResult]():
		return []any{build.DeliveryAccepted, build.DeliveryDuplicate, build.DeliveryIgnored, build.DeliveryRefused}
	case reflect.TypeFor[build.Level]():
		return []any{build.LevelNotify, build.LevelSync}
	case reflect.TypeFor[build.ForgeKind]():
		return []any{build.ForgeGitHub, build.ForgeGitLab, build.ForgeGitea, build.ForgeBitbucket, build.ForgeBitbucketServer}
	case reflect.TypeFor[build.StatusState]():
		return []any{build.StatusPending, build.StatusRunning, build.StatusSuccess, build.StatusFailure, build.StatusError, build.StatusCancelled}
	case reflect.TypeFor[build.MessageState]():
		return []any{build.MessageWaiting, build.MessageSent, build.MessageFailed, build.MessageReplaced}
	case reflect.TypeFor[build.SetupState]():
		return []any{build.SetupPending, build.SetupSucceeded, build.SetupFailed}
	case reflect.TypeFor[build.StepName]():
		return []any{build.StepCreate, build.StepConfigure, build.StepAddons, build.StepBuild, build.StepRelease, build.StepPostdeploy, build.StepDeploy}
	case reflect.TypeFor[build.StepState]():
		return []any{build.StepPending, build.StepRunning, build.StepSucceeded, build.StepFailed, build.StepSkipped}
	case reflect.TypeFor[build.Blame]():
		return []any{build.BlameApp, build.BlamePlatform}
	}
	return nil
}

// of is the schema of a type. That of a request has no field that must be there: handlers say what they miss.
func (s schemas) of(t reflect.Type, request bool) object {
	switch t {
	case reflect.TypeFor[stamp]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[time.Duration]():
		return object{"type": "integer", "description": "nanoseconds"}
	case reflect.TypeFor[build.ID]():
		return object{"type": "string", "format": "uuid"}
	case reflect.TypeFor[toldOf]():
		return object{"anyOf": []any{s.of(reflect.TypeFor[build.ToldBuild](), false), s.of(reflect.TypeFor[build.ToldRelease](), false)}}
	case reflect.TypeFor[varChanges]():
		return object{"type": "object", "additionalProperties": object{"type": []any{"string", "null"}}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return object{"anyOf": []any{s.of(t.Elem(), request), object{"type": "null"}}}
	case reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem(), request)}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem(), request)}
	case reflect.Struct:
		name := schemaName(t, request)
		if s[name] == nil {
			s[name] = object{} // a type that has itself in it ends here
			s[name] = s.structure(t, request)
		}
		return object{"$ref": "#/components/schemas/" + name}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		if all := words(t); all != nil {
			return object{"type": "string", "enum": all}
		}
		return object{"type": "string"}
	default:
		return object{"type": "integer"}
	}
}

// schemaName is a type's own name; one of another package has the package's before it.
func schemaName(t reflect.Type, request bool) string {
	name := strings.TrimSuffix(t.Name(), "View")
	name = strings.ToUpper(name[:1]) + name[1:]
	if t.PkgPath() != reflect.TypeFor[call]().PkgPath() {
		pkg := t.PkgPath()[strings.LastIndexByte(t.PkgPath(), '/')+1:]
		name = strings.ToUpper(pkg[:1]) + pkg[1:] + name
	}
	if request && !strings.HasSuffix(name, "Request") {
		name += "Request"
	}
	return name
}

func (s schemas) structure(t reflect.Type, request bool) object {
	fields := object{}
	required := []string{}
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || !f.IsExported() || name == "-" || name == "" {
			continue
		}
		fields[name] = s.of(f.Type, request)
		if !strings.Contains(options, "omit") {
			required = append(required, name)
		}
	}
	o := object{"type": "object", "properties": fields}
	if slices.Sort(required); !request {
		o["required"] = required
	} else {
		o["additionalProperties"] = false
	}
	return o
}
