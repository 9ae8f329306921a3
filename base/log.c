#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *name, *text;
} topics[] = {
#define X(id, name, text) {name, text},
    LOG_TOPICS(X)
#undef X
};

const char *log_topic_name(enum log_topic topic)
{
    return topics[topic].name;
}

const char *log_topic_text(enum log_topic topic)
{
    return topics[topic].text;
}

void log_write(const struct log *l, enum log_topic topic, const char *fmt, ...)
{
    if (!l->sink)
        return;
    char line[512];
    int n = snprintf(line, sizeof line, "%s: ", topics[topic].name);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line + n, sizeof line - (size_t)n, fmt, ap);
    va_end(ap);
    l->sink(l->opaque, line);
}
