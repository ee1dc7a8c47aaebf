#include "codec/base/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void begins_at_a_page(const struct buffer *buffer)
{
    assert_int_equal((uintptr_t)buffer->data % 4096, 0);
}

static void pages_are_reserved_where_a_page_begins(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT;
    for (size_t extra = 1; extra <= (size_t)1 << 20; extra *= 4) {
        char *room = buffer_reserve_pages(&buffer, extra);
        assert_ptr_equal(room, buffer.data);
        assert_true(buffer.capacity >= extra);
        begins_at_a_page(&buffer);
    }
    buffer_release(&buffer);
}

static void what_a_buffer_held_moves_to_the_page(void **state)
{
    (void)state;
    struct buffer buffer = BUFFER_INIT;
    buffer_append_text(&buffer, "held");
    char *room = buffer_reserve_pages(&buffer, 100000);
    begins_at_a_page(&buffer);
    assert_int_equal(buffer.size, 4);
    assert_ptr_equal(room, buffer.data + 4);
    assert_memory_equal(buffer.data, "held", 4);

    const char *data = buffer.data;
    buffer_reserve_pages(&buffer, 100000); /* there is room: nothing moves */
    assert_ptr_equal(buffer.data, data);
    buffer_release(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_reserved_where_a_page_begins),
        cmocka_unit_test(what_a_buffer_held_moves_to_the_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
