// Package parquet writes flows as Parquet (https://parquet.apache.org/docs/file-format/),
// for engines that answer questions about months and years: one file of the caller's, or
// a folder with a file for each hour. Names and nesting of the columns are those of
// package ndjson, and are a public interface like them.
package parquet

import (
	"io"

	"github.com/parquet-go/parquet-go"

	"github.com/exspan/exspan/classify/record"
)

// A Sink encodes records for a Folder. It calls Write of its writer once for each.
type Sink struct {
	w   io.Writer
	buf []byte
}

// NewSink returns a sink that writes to w, which is a Folder, or passes to one what it
// gets.
func NewSink(w io.Writer) *Sink { return &Sink{w: w} }

// Write writes r as one row.
func (s *Sink) Write(r *record.Record) error {
	s.buf = appendRow(s.buf[:0], r)
	_, err := s.w.Write(s.buf)
	return err
}

// Close does nothing. The Folder is to be closed by who opened it.
func (s *Sink) Close(*record.Summary) error { return nil }

// A File is a sink that writes one file of Parquet, which is complete when Close has
// returned nil.
type File struct {
	w   *parquet.GenericWriter[any]
	dec *decoder
	buf []byte
	row []parquet.Row
}

// NewFile returns a sink that writes to w. program is the version of the program.
func NewFile(w io.Writer, program string) *File {
	s := schemaOf[1]()
	return &File{w: newWriter(s, w, program, nil), dec: newDecoder(columnsOf(s), s), row: make([]parquet.Row, 1)}
}

// Write writes r as one row.
func (f *File) Write(r *record.Record) error {
	f.buf = appendRow(f.buf[:0], r)
	row, err := f.dec.row(f.row[0][:0], f.buf[rowHead:])
	if err != nil {
		return err
	}
	f.row[0] = row
	_, err = f.w.WriteRows(f.row)
	return err
}

// Close writes the end of the file.
func (f *File) Close(*record.Summary) error { return f.w.Close() }
