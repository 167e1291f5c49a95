package share

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/exspan/exspan/classify/knowledge"
)

// Bucket is the name of the bucket that sensors share.
const Bucket = "exspan"

// maxAge is the age at which the bucket forgets a value. It is well beyond the expiry
// and the refresh of values, so it collects garbage alone.
const maxAge = 4 * 24 * time.Hour

// Stream returns the configuration of the stream below the bucket; maxBytes bounds it.
// Nobody can purge it with a message: in the usual configuration of a bucket, one header
// in a message of any writer would delete what all others wrote.
func Stream(maxBytes int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{Name: "KV_" + Bucket, Description: "what exspan's sensors know", Subjects: []string{"$KV." + Bucket + ".>"},
		MaxMsgsPerSubject: 1, MaxAge: maxAge, MaxBytes: maxBytes, MaxMsgSize: knowledge.MaxValue + 1024, Discard: jetstream.DiscardNew,
		DenyDelete: true, AllowDirect: true, Storage: jetstream.FileStorage, Duplicates: time.Minute}
}

// ensureBucket creates the bucket where it is missing.
func ensureBucket(ctx context.Context, js jetstream.JetStream) error {
	_, err := js.Stream(ctx, "KV_"+Bucket)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = js.CreateStream(ctx, Stream(-1))
	}
	if err != nil {
		return fmt.Errorf("bucket %s: %w", Bucket, err)
	}
	return nil
}

// CreateBucket creates the bucket on a server, or gives the one there the right
// configuration.
func CreateBucket(ctx context.Context, o Options, maxBytes int64) error {
	s := New(o)
	nc, _, err := s.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(ackWait))
	if err != nil {
		return err
	}
	_, err = js.CreateOrUpdateStream(ctx, Stream(maxBytes))
	return err
}

// RecordsSubject returns the subject of the records of a sensor, which are lines of
// NDJSON, and StateSubject that of its state.
func RecordsSubject(realm, sensor string) string {
	return "exspan.records." + knowledge.Token(realm) + "." + knowledge.Token(sensor)
}

// StateSubject returns the subject of the state of a sensor.
func StateSubject(realm, sensor string) string {
	return "exspan.state." + knowledge.Token(realm) + "." + knowledge.Token(sensor)
}

// statesOf returns the subjects of the states of all sensors of a realm.
func statesOf(realm string) string { return "exspan.state." + knowledge.Token(realm) + ".*" }

// inbox returns the subjects at which a sensor gets answers.
func inbox(realm, sensor string) string {
	return "_INBOX." + knowledge.Token(realm) + "." + knowledge.Token(sensor)
}

// Permissions returns the subjects to which a sensor may publish, and to which it may
// subscribe: it writes under its own prefix alone, and reads its own realm.
func Permissions(realm, sensor string) (publish, subscribe []string) {
	r, stream := knowledge.Token(realm), "KV_"+Bucket
	return []string{
		"$KV." + Bucket + "." + knowledge.Prefix(realm, sensor) + ">",
		RecordsSubject(realm, sensor),
		StateSubject(realm, sensor),
		"$JS.API.STREAM.INFO." + stream,
		"$JS.API.CONSUMER.CREATE." + stream + ".*.$KV." + Bucket + "." + r + ".>",
		"$JS.API.CONSUMER.INFO." + stream + ".*",
		"$JS.API.CONSUMER.DELETE." + stream + ".*",
		"$JS.FC." + stream + ".>",
	}, []string{inbox(realm, sensor) + ".>", statesOf(realm)}
}

// ViewerPermissions returns the subjects to which one may publish, and to which one may
// subscribe, who watches a realm and tells nothing.
func ViewerPermissions(realm, viewer string) (publish, subscribe []string) {
	r := knowledge.Token(realm)
	return nil, []string{"exspan.records." + r + ".>", statesOf(realm), inbox(realm, viewer) + ".>"}
}

// AdminPermissions returns the subjects to which one may publish and subscribe who may
// create the bucket.
func AdminPermissions() (publish, subscribe []string) {
	stream := "KV_" + Bucket
	return []string{"$JS.API.INFO", "$JS.API.STREAM.INFO." + stream, "$JS.API.STREAM.CREATE." + stream, "$JS.API.STREAM.UPDATE." + stream}, []string{"_INBOX.>"}
}
