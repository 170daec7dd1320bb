"""Topics: what Kafka holds, how far groups have read, and the newest messages. Read-only."""

import streamlit as st

from data.clock import wall_clock
from server.console.frame import guarded, heading, table
from server.console.resources import inspect, settings
from server.console.watch import messages

__all__ = ["page"]

_COUNTS = (10, 20, 50, 100)


def page() -> None:
    """Topics, partitions, groups and messages."""
    heading("Topics", "What lies in Kafka and who has read how far. Read-only: looking joins no group.")
    _overview()
    _newest()


@st.fragment(run_every=5)
@guarded
def _overview() -> None:
    ranges = inspect(lambda inspector: inspector.partitions())
    if not ranges:
        st.info("Kafka has no topics yet. A stream worker makes them: run `encore stream`, or `encore up`.")
        return
    table(messages.topic_rows(ranges))
    with st.expander("Partitions and offsets"):
        table(
            [
                {
                    "topic": partition.topic,
                    "partition": partition.partition,
                    "first offset": partition.first,
                    "end offset": partition.end,
                    "messages": partition.messages,
                }
                for partition in ranges
            ]
        )
    st.subheader("Consumer groups", anchor=False)
    groups = inspect(lambda inspector: inspector.groups(ranges))
    if groups:
        table(messages.group_rows(groups))
        st.caption("Lag is counted from what a group has committed; workers commit every few seconds.")
    else:
        st.info("No group has committed anything yet. Stream workers do after some seconds: `encore stream`.")


@guarded
def _newest() -> None:
    st.subheader("Newest messages", anchor=False)
    topics = list(dict.fromkeys(partition.topic for partition in inspect(lambda inspector: inspector.partitions())))
    if not topics:
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        events = settings().kafka_names.events
        default = topics.index(events) if events in topics else 0
        topic = st.selectbox("Topic", topics, index=default, width=320)
        count = st.selectbox("How many", _COUNTS, index=1, width=120)
        st.button("Look again", icon=":material/refresh:")
    newest = inspect(lambda inspector: inspector.newest(topic, count))
    if not newest:
        st.info("This topic holds no messages.")
        return
    rows = (
        messages.letter_rows(newest)
        if topic.endswith(".dead-letter")
        else messages.message_rows(newest, wall_clock(), settings().declared.schema)
    )
    table(rows)
