// The subset of Perfetto's trace format that weft writes and reads: field numbers and values, as in
// perfetto/protos/perfetto/trace/*.proto.
#pragma once

enum { // Trace
  TRACE_PACKET = 1
};
enum {                  // TracePacket
  PACKET_TIMESTAMP = 8, // ns
  PACKET_SEQUENCE_ID = 10,
  PACKET_TRACK_EVENT = 11,
  PACKET_INTERNED_DATA = 12,
  PACKET_SEQUENCE_FLAGS = 13,
  PACKET_COMPRESSED = 50, // zlib: a Trace in one deflate frame
  PACKET_TRACK_DESCRIPTOR = 60
};
enum {                        // TracePacket.SequenceFlags
  SEQUENCE_STATE_CLEARED = 1, // interned names start anew
  SEQUENCE_NEEDS_STATE = 2    // the packet uses interned names
};
enum { // TrackDescriptor
  TRACK_UUID = 1,
  TRACK_NAME = 2,
  TRACK_PARENT_UUID = 5,
  TRACK_COUNTER = 8,
  TRACK_CHILD_ORDERING = 11,
  TRACK_ORDER_RANK = 12,
  TRACK_MERGE_BEHAVIOR = 15
};
enum { CHILD_ORDERING_EXPLICIT = 3, MERGE_BEHAVIOR_NONE = 2 };
enum { // CounterDescriptor
  COUNTER_UNIT = 3,
  COUNTER_UNIT_NAME = 6
};
enum { COUNTER_UNIT_COUNT = 2, COUNTER_UNIT_BYTES = 3 };
enum { // TrackEvent
  EVENT_DEBUG_ANNOTATION = 4,
  EVENT_TYPE = 9,
  EVENT_NAME_IID = 10,
  EVENT_TRACK_UUID = 11,
  EVENT_CATEGORY = 22,
  EVENT_NAME = 23,
  EVENT_COUNTER_VALUE = 30,
  EVENT_DOUBLE_COUNTER_VALUE = 44
};
enum { EVENT_BEGIN = 1, EVENT_END = 2, EVENT_INSTANT = 3, EVENT_COUNTER = 4 };
enum { // DebugAnnotation
  ANNOTATION_UINT = 3,
  ANNOTATION_INT = 4,
  ANNOTATION_DOUBLE = 5,
  ANNOTATION_TEXT = 6,
  ANNOTATION_NAME = 10
};
enum { // InternedData and its EventName
  INTERNED_EVENT_NAME = 2,
  NAME_IID = 1,
  NAME_TEXT = 2
};

enum {
  TRACE_ROOT_UUID = 1, // parent of all tracks, so that their order can be stated
  TRACE_SEQUENCE = 1,  // any number but 0
  // Bytes of packets in one deflate frame. Packed they must stay below 512 KB, and what does not
  // compress at all grows by a few bytes.
  TRACE_FRAME_FILL = 480 << 10
};
#define TRACE_ROOT_NAME "weft"
#define TRACE_SUMMARY_CATEGORY "weft.summary" // of the last packet: an instant with the counts
